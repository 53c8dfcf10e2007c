#Requires -Version 5.1
<#
.SYNOPSIS
    Install updates by their KB numbers through the Windows Update agent: exactly these, in their order.

.DESCRIPTION
    The agent's objects refuse the network token of a WinRM shell (0x80070005): this stage runs as SYSTEM. They need the service
    wuauserv; the policy NoAutoUpdate keeps the agent from acting by itself, and does not keep anybody from asking it.
    Result codes of the agent: 2 succeeded, 3 succeeded with errors, 4 failed, 5 aborted.
    https://learn.microsoft.com/windows/win32/wua_sdk/searching--downloading--and-installing-updates
    https://learn.microsoft.com/windows/win32/api/wuapi/ne-wuapi-operationresultcode

.NOTES
    Input: updates (kb, build), promised_build. An update that Windows Update does not offer is superseded only when Windows is at the build
    that it brings, or at promised_build, already; otherwise it is for another Windows, and the stage fails.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:AlreadyInstalled = 2359302
$script:Succeeded = 2

function Get-InstalledKb {
    # KB numbers that Windows lists as installed.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    return @(Get-HotFix | ForEach-Object -Process { [string]$_.HotFixID })
}

function Test-ReachedBuild {
    # True when Windows is at one of these build.UBR or beyond.
    [CmdletBinding()]
    [OutputType([bool])]
    param([AllowEmptyCollection()][AllowNull()][AllowEmptyString()][string[]]$Build)
    $current = Get-OsVersion
    foreach ($text in @($Build | Where-Object -FilterScript { -not [string]::IsNullOrEmpty($_) })) {
        $wanted = [version]$text
        if (($current.Build -eq $wanted.Major) -and ($current.Ubr -ge $wanted.Minor)) {
            return $true
        }
    }
    return $false
}

function Find-OfferedUpdate {
    # What Windows Update has for this Windows and is not installed, by KB number; the one of a KB that came last.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param([Parameter(Mandatory = $true)][object]$Session)
    $searcher = $Session.CreateUpdateSearcher()
    # A listed update stays wanted when a newer one is out.
    $searcher.IncludePotentiallySupersededUpdates = $true
    $found = $searcher.Search("IsInstalled=0 and Type='Software'")
    $offered = @{}
    foreach ($update in @($found.Updates)) {
        foreach ($number in @($update.KBArticleIDs)) {
            $offered["KB$number"] = $update
        }
    }
    return $offered
}

function Install-OfferedUpdate {
    # Download and install one update; its HRESULT, and whether it waits for a restart.
    [CmdletBinding()]
    [OutputType([psobject])]
    param(
        [Parameter(Mandatory = $true)][object]$Session,
        [Parameter(Mandatory = $true)][object]$Update,
        [Parameter(Mandatory = $true)][string]$Kb
    )
    $collection = New-Object -ComObject 'Microsoft.Update.UpdateColl'
    if (-not $Update.EulaAccepted) {
        $Update.AcceptEula()
    }
    $null = $collection.Add($Update)
    $downloader = $Session.CreateUpdateDownloader()
    $downloader.Updates = $collection
    $downloaded = $downloader.Download()
    if ([int]$downloaded.ResultCode -ne $script:Succeeded) {
        $code = [int]$downloaded.GetUpdateResult(0).HResult
        throw (New-StageFailure -Code 'download-failed' -Message "${Kb}: Windows Update can not fetch it, 0x$($code.ToString('X8'))")
    }
    $installer = $Session.CreateUpdateInstaller()
    if ($installer.RebootRequiredBeforeInstallation) {
        throw (New-StageFailure -Code 'update-failed' -Message "${Kb}: Windows waits for a restart, and installs nothing before it")
    }
    $installer.Updates = $collection
    $result = $installer.Install()
    $code = [int]$result.GetUpdateResult(0).HResult
    if ([int]$result.ResultCode -ne $script:Succeeded) {
        $reason = 'see C:\Windows\Logs\CBS\CBS.log'
        if ($code -eq -2146498270) {
            $reason = 'an installer inside the update failed; the system partition may be full'
        }
        throw (New-StageFailure -Code 'update-failed' -Message "${Kb}: exit code $code (0x$($code.ToString('X8'))), $reason")
    }
    return [pscustomobject]@{ ExitCode = $code; RestartNeeded = [bool]$result.RebootRequired }
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $installed = Get-InstalledKb
    $all = @($stageInput.updates)
    $offered = @{}
    $session = New-Object -ComObject 'Microsoft.Update.Session'
    if (@($all | Where-Object -FilterScript { $installed -notcontains $_.kb }).Count -gt 0) {
        Write-StageProgress -Message 'asking Windows Update' -Done 0 -Total $all.Count
        $offered = Invoke-WithRetry -Attempts 3 -PauseSecond 20 -Action { Find-OfferedUpdate -Session $session }
    }
    $outcomes = @()
    $changed = $false
    $needsReboot = $false
    foreach ($update in $all) {
        $outcome = 'already-installed'
        $exitCode = $script:AlreadyInstalled
        if ($installed -notcontains $update.kb) {
            if ($offered.ContainsKey($update.kb)) {
                Write-StageProgress -Message "installing $($update.kb)" -Done $outcomes.Count -Total $all.Count
                $done = Install-OfferedUpdate -Session $session -Update $offered[$update.kb] -Kb $update.kb
                $outcome = 'installed'
                $exitCode = $done.ExitCode
                $changed = $true
                $needsReboot = $needsReboot -or $done.RestartNeeded
            }
            elseif (Test-ReachedBuild -Build @($update.build, $stageInput.promised_build)) {
                $outcome = 'superseded'
                $exitCode = 0
            }
            else {
                $message = "$($update.kb): Windows Update does not offer it to this Windows"
                throw (New-StageFailure -Code 'update-not-offered' -Message $message)
            }
        }
        $outcomes += [ordered]@{ kb = [string]$update.kb; outcome = $outcome; exit_code = $exitCode }
    }
    $needsReboot = $needsReboot -or (Test-PendingReboot)
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $needsReboot; updates = @($outcomes) })
}
