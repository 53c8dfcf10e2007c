#Requires -Version 5.1
<#
.SYNOPSIS
    Install updates from files, in their order.

.DESCRIPTION
    wusa.exe: 0 done, 3010 done and a restart is needed, 2359302 (0x00240006) already installed, 0x80240017 not applicable, 1058 when
    wuauserv is disabled. It and DISM answer 5 or 0x80070005 in a WinRM shell: this stage runs as SYSTEM.
    DISM: 0, 3010, 0x800f081e not applicable. On build 26100 it finds the checkpoint updates that an update builds on when their files
    lie in the same folder, so all files are downloaded before the first one is installed, and a checkpoint is not installed by itself:
    added alone to a Windows that is past it, it damages the component store (0x80073712). Without it: 0x800f0838.
    0x800f0922: an installer inside the update failed, often for want of space on the system partition.
    https://learn.microsoft.com/windows/win32/wua_sdk/wua-success-and-error-codes-
    https://learn.microsoft.com/windows/deployment/update/catalog-checkpoint-cumulative-updates

.NOTES
    Input: updates (kb, file_name, url, sha256, size_bytes, installer, build, checkpoint), promised_build. An update that does not apply is
    superseded only when Windows is at the build that it brings, or at promised_build, already; otherwise it is the wrong file, and the
    stage fails.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:AlreadyInstalled = 2359302
$script:NotApplicable = @(-2145124329, -2146498530)
$script:Folder = Join-Path -Path $PSScriptRoot -ChildPath 'updates'

function Get-InstalledKb {
    # KB numbers that Windows lists as installed.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    return @(Get-HotFix | ForEach-Object -Process { [string]$_.HotFixID })
}

function Test-PromisedBuild {
    # True when Windows is at this build.UBR or beyond; false without a promise.
    [CmdletBinding()]
    [OutputType([bool])]
    param([AllowNull()][AllowEmptyString()][string]$PromisedBuild)
    if ([string]::IsNullOrEmpty($PromisedBuild)) {
        return $false
    }
    $promised = [version]$PromisedBuild
    $current = Get-OsVersion
    return ($current.Build -eq $promised.Major) -and ($current.Ubr -ge $promised.Minor)
}

function Install-UpdateFile {
    # The exit code of wusa.exe or dism.exe for this file.
    [CmdletBinding()]
    [OutputType([int])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][ValidateSet('wusa', 'dism')][string]$Installer
    )
    if ($Installer -eq 'wusa') {
        $outcome = Invoke-NativeCommand -FilePath 'wusa.exe' -ArgumentList @($Path, '/quiet', '/norestart') -AnyExitCode -TimeoutSecond 7200
    }
    else {
        $arguments = @('/Online', '/Add-Package', "/PackagePath:$Path", '/Quiet', '/NoRestart')
        $outcome = Invoke-NativeCommand -FilePath 'dism.exe' -ArgumentList $arguments -AnyExitCode -TimeoutSecond 7200
    }
    return $outcome.ExitCode
}

function ConvertTo-Outcome {
    # What the exit code means for this update; a failure ends the stage.
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)][string]$Kb,
        [Parameter(Mandatory = $true)][int]$ExitCode,
        [AllowNull()][AllowEmptyString()][string]$OwnBuild,
        [AllowNull()][AllowEmptyString()][string]$PromisedBuild
    )
    if (@(0, 3010) -contains $ExitCode) {
        return 'installed'
    }
    if ($ExitCode -eq $script:AlreadyInstalled) {
        return 'already-installed'
    }
    if ($script:NotApplicable -contains $ExitCode) {
        if ((Test-PromisedBuild -PromisedBuild $OwnBuild) -or (Test-PromisedBuild -PromisedBuild $PromisedBuild)) {
            return 'superseded'
        }
    }
    $known = @{
        5 = 'access denied'
        112 = 'the disk is full'
        1058 = 'the service wuauserv is disabled'
        -2145124330 = 'another installation runs, or Windows waits for a restart'
        -2146498270 = 'an installer inside the update failed; the system partition may be full'
        -2146498504 = 'a checkpoint update that it builds on is missing'
        -2147010798 = 'the component store is damaged'
    }
    $reason = 'see C:\Windows\Logs\CBS\CBS.log'
    if ($script:NotApplicable -contains $ExitCode) {
        $reason = 'it does not apply to this Windows'
    }
    elseif ($known.ContainsKey($ExitCode)) {
        $reason = $known[$ExitCode]
    }
    throw (New-StageFailure -Code 'update-failed' -Message "${Kb}: exit code $ExitCode (0x$($ExitCode.ToString('X8'))), $reason")
}

function Save-UpdateFile {
    # The files of the updates that are not installed, by KB.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$Update)
    $paths = @{}
    $files = @(
        foreach ($one in $Update) {
            # The name alone: a path in it must not lead out of the folder.
            $paths[$one.kb] = Join-Path -Path $script:Folder -ChildPath ([System.IO.Path]::GetFileName($one.file_name))
            [pscustomobject]@{ url = $one.url; path = $paths[$one.kb]; sha256 = $one.sha256; size_bytes = [long]$one.size_bytes }
        }
    )
    $null = Save-VerifiedFile -File $files -Parallel 4 -Attempts 5
    return $paths
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $installed = Get-InstalledKb
    $all = @($stageInput.updates)
    $missing = @($all | Where-Object -FilterScript { $installed -notcontains $_.kb })
    $outcomes = @()
    $changed = $false
    $needsReboot = $false
    try {
        $paths = Save-UpdateFile -Update $missing
        foreach ($update in $all) {
            $exitCode = $script:AlreadyInstalled
            if ($paths.ContainsKey($update.kb) -and $update.checkpoint) {
                # DISM takes it from the folder when it adds the update that is a difference to it.
                $outcomes += [ordered]@{ kb = [string]$update.kb; outcome = 'with-target'; exit_code = 0 }
                continue
            }
            if ($paths.ContainsKey($update.kb)) {
                Write-StageProgress -Message "installing $($update.kb)" -Done $outcomes.Count -Total $all.Count
                $exitCode = Install-UpdateFile -Path $paths[$update.kb] -Installer $update.installer
            }
            $builds = @{ OwnBuild = $update.build; PromisedBuild = $stageInput.promised_build }
            $outcome = ConvertTo-Outcome -Kb $update.kb -ExitCode $exitCode @builds
            $outcomes += [ordered]@{ kb = [string]$update.kb; outcome = $outcome; exit_code = $exitCode }
            $changed = $changed -or ($outcome -eq 'installed')
            $needsReboot = $needsReboot -or ($exitCode -eq 3010)
        }
    }
    finally {
        if (Test-Path -LiteralPath $script:Folder) {
            Remove-Item -LiteralPath $script:Folder -Recurse -Force
        }
    }
    $needsReboot = $needsReboot -or (Test-PendingReboot)
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $needsReboot; updates = @($outcomes) })
}
