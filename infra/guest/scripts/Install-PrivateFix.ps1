#Requires -Version 5.1
<#
.SYNOPSIS
    Install a private fix: a .msu, .cab or .exe, or a .zip of files that replace Windows' own.

.DESCRIPTION
    Nothing here names the fix: its file lies under its hash, and what an installer says is not repeated.
    wusa.exe and dism.exe: 0, 3010, 2359302 already installed, 0x80240017 and 0x800f081e not applicable, 0x800f0922 an installer of the
    package failed. A package that does not apply is told apart by its identity: one for this build at or below its revision is contained.
    https://learn.microsoft.com/windows-hardware/manufacture/desktop/dism-operating-system-package-servicing-command-line-options
    Files of Windows belong to TrustedInstaller, and nobody else may change them: their owner and rights are lent for one restart, in which
    the session manager renames what PendingFileRenameOperations lists, before any file is in use; an exclamation mark replaces what is there.
    The rename needs the right to delete the source and to replace the target.
    https://learn.microsoft.com/windows/win32/wfp/supported-file-replacement-mechanisms
    https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-movefileexa
    https://learn.microsoft.com/windows-server/administration/windows-commands/icacls
    Files that were not signed for production need test signing, which Secure Boot refuses.
    https://learn.microsoft.com/windows-hardware/drivers/install/the-testsigning-boot-configuration-option

.NOTES
    Input: kind, url, sha256, installer, arguments. The paths in a .zip mirror C:\. What Confirm-PrivateFix.ps1 must know lies beside the
    scripts until it has run.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:AlreadyInstalled = 2359302
$script:NotApplicable = @(-2145124329, -2146498530)
$script:InstallersFailed = -2146498270
$script:SessionManager = 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager'

function Get-ContentLength {
    # Length of what is behind a URL: the plan does not know it.
    [CmdletBinding()]
    [OutputType([long])]
    param([Parameter(Mandatory = $true)][string]$Url)
    $client = New-DownloadClient -Parallel 1
    try {
        $client.Timeout = [timespan]::FromSeconds(60)
        $request = New-Object -TypeName 'System.Net.Http.HttpRequestMessage' -ArgumentList @([System.Net.Http.HttpMethod]::Head, [uri]$Url)
        $response = $client.SendAsync($request).GetAwaiter().GetResult()
        $status = [int]$response.StatusCode
        if ($status -ge 300) {
            $code = 'download-failed'
            if (($status -ge 400) -and ($status -lt 500) -and (@(408, 429) -notcontains $status)) {
                $code = 'download-refused'
            }
            throw (New-StageFailure -Code $code -Message "HTTP $status")
        }
        $length = $response.Content.Headers.ContentLength
        if ($null -eq $length) {
            throw (New-StageFailure -Code 'download-failed' -Message 'the server does not tell the length')
        }
        return [long]$length
    }
    finally {
        $client.Dispose()
    }
}

function Save-Fix {
    # Download the fix, verified. What fails is told without the address: its host, path and file name are secrets, too.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Url,
        [Parameter(Mandatory = $true)][string]$Sha256,
        [Parameter(Mandatory = $true)][string]$Path
    )
    try {
        $file = [pscustomobject]@{ url = $Url; path = $Path; sha256 = $Sha256; size_bytes = (Get-ContentLength -Url $Url) }
        $null = Save-VerifiedFile -File @($file) -Parallel 1 -Attempts 3
    }
    catch {
        $code = Get-FailureCode -Exception $_.Exception
        $status = [regex]::Match($_.Exception.GetBaseException().Message, 'HTTP \d{3}').Value
        $texts = @{
            'download-refused' = "the storage refuses to give the fix ($status): its URL has expired, was revoked or does not allow reading"
            'hash-mismatch'    = 'the file behind the URL does not have the sha256 that was promised'
            'disk-full'        = 'there is not enough space on the disk for the fix'
        }
        $text = "the fix can not be downloaded $status".TrimEnd()
        if ($texts.ContainsKey($code)) {
            $text = $texts[$code]
        }
        elseif ($code -eq 'script-failed') {
            $code = 'download-failed'
        }
        throw (New-StageFailure -Code $code -Message $text)
    }
}

function Invoke-QuietCommand {
    # The exit code of a program whose chatter is not kept: it may name the fix.
    [CmdletBinding()]
    [OutputType([int])]
    param(
        [Parameter(Mandatory = $true)][string]$FilePath,
        [string[]]$ArgumentList = @()
    )
    $command = Start-NativeCommand -FilePath $FilePath -ArgumentList $ArgumentList
    $outcome = Complete-NativeCommand -Command $command -AnyExitCode -TimeoutSecond 7200
    return $outcome.ExitCode
}

function Test-ContainedPackage {
    # True when a package is for this build, at its revision or below.
    [CmdletBinding()]
    [OutputType([bool])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][string]$Folder
    )
    $cabinets = @($Path)
    if ([System.IO.Path]::GetExtension($Path) -eq '.msu') {
        $null = [System.IO.Directory]::CreateDirectory($Folder)
        $null = Invoke-QuietCommand -FilePath 'expand.exe' -ArgumentList @('-F:Windows*.cab', $Path, $Folder)
        $cabinets = @(Get-ChildItem -LiteralPath $Folder -Filter '*.cab' -File | ForEach-Object -Process { $_.FullName })
    }
    $current = Get-OsVersion
    foreach ($cabinet in $cabinets) {
        $arguments = @('/Online', '/English', '/Get-PackageInfo', "/PackagePath:$cabinet")
        $outcome = Complete-NativeCommand -Command (Start-NativeCommand -FilePath 'dism.exe' -ArgumentList $arguments) -AnyExitCode
        if ($outcome.Output -match 'Package Identity : \S+~(\d+)\.(\d+)\.\d+\.\d+') {
            if (([int]$Matches[1] -eq $current.Build) -and ([int]$Matches[2] -le $current.Ubr)) {
                return $true
            }
        }
    }
    return $false
}

function Install-Package {
    # Install a .msu or .cab: its exit code, and whether Windows held it before.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][string]$Installer,
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$Before,
        [Parameter(Mandatory = $true)][string]$Folder
    )
    if ($Installer -eq 'wusa') {
        $exitCode = Invoke-QuietCommand -FilePath 'wusa.exe' -ArgumentList @($Path, '/quiet', '/norestart')
    }
    else {
        $exitCode = Invoke-QuietCommand -FilePath 'dism.exe' -ArgumentList @('/Online', '/Add-Package', "/PackagePath:$Path", '/Quiet', '/NoRestart')
    }
    if (@(0, 3010, $script:AlreadyInstalled) -contains $exitCode) {
        # DISM answers 0 for a package that is there, and both say so of one that an earlier run brought: what counts is what is new.
        $new = @(Get-ServicingPackage -State @(96, 112) | Where-Object -FilterScript { $Before -notcontains $_ })
        return @{ ExitCode = $exitCode; Present = ($new.Count -eq 0) }
    }
    if ($script:NotApplicable -contains $exitCode) {
        if (Test-ContainedPackage -Path $Path -Folder $Folder) {
            return @{ ExitCode = $exitCode; Present = $true }
        }
        throw (New-StageFailure -Code 'wrong-windows' -Message ('exit code 0x{0:X8}: the fix is not for this Windows' -f $exitCode))
    }
    $reason = 'CBS.log says why'
    if ($exitCode -eq $script:InstallersFailed) {
        $reason = 'an installer of the package failed, often for lack of space in the system partition'
    }
    throw (New-StageFailure -Code 'fix-failed' -Message ('exit code {0} (0x{0:X8}): {1}' -f $exitCode, $reason))
}

function Get-Replacement {
    # Files of the unpacked .zip with the paths that they are for; the record's fields.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][string]$Folder
    )
    Add-Type -AssemblyName 'System.IO.Compression.FileSystem'
    $archive = [System.IO.Compression.ZipFile]::OpenRead($Path)
    try {
        foreach ($entry in $archive.Entries) {
            $leadsOut = $entry.FullName -match '(^|[\\/])\.\.[. ]*([\\/]|$)|^[\\/]|:'
            # As Windows reads it: .\winvhd, winvhd. and winvhd are one folder.
            if ($leadsOut -or ([System.IO.Path]::GetFullPath("C:\$($entry.FullName)") -match '^C:\\(ProgramData\\)?winvhd(\\|$)')) {
                throw (New-StageFailure -Code 'bad-fix' -Message 'a path in the .zip leads out of C: or into a folder of this build')
            }
        }
    }
    finally {
        $archive.Dispose()
    }
    if (Test-Path -LiteralPath $Folder) {
        Remove-Item -LiteralPath $Folder -Recurse -Force
    }
    Expand-PackageArchive -Path $Path -Destination $Folder
    $files = @(Get-ChildItem -LiteralPath $Folder -Recurse -File -Force | Sort-Object -Property 'FullName')
    if ($files.Count -eq 0) {
        throw (New-StageFailure -Code 'bad-fix' -Message 'the .zip holds no file')
    }
    for ($number = 0; $number -lt $files.Count; $number++) {
        $file = $files[$number]
        $sha256 = Get-FileSha256 -Path $file.FullName
        $target = 'C:\' + $file.FullName.Substring($Folder.Length + 1)
        $existed = [System.IO.File]::Exists($target)
        $isSame = $existed -and ((Get-FileSha256 -Path $target) -eq $sha256)
        @{ source = $file.FullName; path = $target; sha256 = $sha256; existed = $existed; same = $isSame; acl = "$Folder-acl\$number.acl" }
    }
}

function Grant-Replacement {
    # Lend a file of Windows to the administrators until the restart; Confirm-PrivateFix.ps1 gives it back.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$File)
    $null = [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($File.path))
    if (-not $File.existed) {
        return
    }
    $null = [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($File.acl))
    $exitCodes = @(
        if (-not [System.IO.File]::Exists($File.acl)) {
            Invoke-QuietCommand -FilePath 'icacls.exe' -ArgumentList @($File.path, '/save', $File.acl, '/q')
        }
        Invoke-QuietCommand -FilePath 'takeown.exe' -ArgumentList @('/F', $File.path, '/A')
        Invoke-QuietCommand -FilePath 'icacls.exe' -ArgumentList @($File.path, '/grant', '*S-1-5-18:F', '*S-1-5-32-544:F', '/q')
    )
    if (@($exitCodes | Where-Object -FilterScript { $_ -ne 0 }).Count -gt 0) {
        throw (New-StageFailure -Code 'access-denied' -Message "a protected file can not be made replaceable: exit codes $($exitCodes -join ', ')")
    }
}

function Add-PendingRename {
    # Let the session manager put the files in place when Windows starts; what waits there already stays.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][hashtable[]]$File)
    $waiting = @(Get-RegistryValue -Path $script:SessionManager -Name 'PendingFileRenameOperations')
    $pairs = @(
        $waiting | Where-Object -FilterScript { $null -ne $_ }
        foreach ($one in $File) {
            if ($waiting -notcontains "\??\$($one.source)") {
                "\??\$($one.source)"
                "!\??\$($one.path)"
            }
        }
    )
    if ($pairs.Count -gt 0) {
        $null = Set-RegistryValue -Path $script:SessionManager -Name 'PendingFileRenameOperations' -Kind ([Microsoft.Win32.RegistryValueKind]::MultiString) -Value ([string[]]$pairs)
    }
}

function Enable-TestSigning {
    # Let Windows load what is signed for tests, from the next start on.
    [CmdletBinding()]
    param()
    $exitCode = Invoke-QuietCommand -FilePath 'bcdedit.exe' -ArgumentList @('/set', 'testsigning', 'on')
    if ($exitCode -ne 0) {
        throw (New-StageFailure -Code 'test-signing-refused' -Message "bcdedit ended with exit code ${exitCode}: does the VM have Secure Boot?")
    }
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $kind = [string]$stageInput.kind
    $stem = Join-Path -Path $PSScriptRoot -ChildPath "fix-$($stageInput.sha256.Substring(0, 12))"
    $path = "$stem.$kind"
    $record = "$stem.json"
    $before = @(Get-ServicingPackage -State @(96, 112))
    if ([System.IO.File]::Exists($record)) {
        # A second run: what was there before the first one is what counts.
        $before = @((ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText($record))).packages)
    }
    $exitCode = 0
    $present = $null
    $files = @()
    try {
        Write-StageProgress -Message 'downloading' -Done 0 -Total 2
        Save-Fix -Url $stageInput.url -Sha256 $stageInput.sha256 -Path $path
        Write-StageProgress -Message 'installing' -Done 1 -Total 2
        $null = Set-TextContent -Path $record -Text (ConvertTo-Json -InputObject @{ packages = $before; files = @(); present = $null } -Depth 4)
        if ($kind -eq 'zip') {
            $files = @(Get-Replacement -Path $path -Folder $stem)
            $changing = @($files | Where-Object -FilterScript { -not $_.same })
            $present = ($changing.Count -eq 0)
            Enable-TestSigning
            foreach ($file in $changing) {
                Grant-Replacement -File $file
            }
            Add-PendingRename -File $changing
        }
        elseif ($kind -eq 'exe') {
            $exitCode = Invoke-QuietCommand -FilePath $path -ArgumentList @($stageInput.arguments)
            if (@(0, 3010) -notcontains $exitCode) {
                throw (New-StageFailure -Code 'fix-failed' -Message ('the program ended with exit code {0} (0x{0:X8})' -f $exitCode))
            }
        }
        else {
            $outcome = Install-Package -Path $path -Installer $stageInput.installer -Before $before -Folder $stem
            $exitCode = $outcome.ExitCode
            $present = $outcome.Present
        }
        $known = @{ packages = $before; files = $files; present = $present }
        $null = Set-TextContent -Path $record -Text (ConvertTo-Json -InputObject $known -Depth 4)
    }
    catch {
        if ($_.Exception.Data.Contains('StageCode')) {
            throw
        }
        # What Windows says names the file, and so what the fix changes.
        $kindOfError = $_.Exception.GetBaseException().GetType().Name
        throw (New-StageFailure -Code (Get-FailureCode -Exception $_.Exception) -Message "the fix can not be installed: $kindOfError")
    }
    finally {
        [System.IO.File]::Delete($path)
    }
    if ($null -ne $present) {
        $null = Set-RegistryValue -Path 'HKLM:\SOFTWARE\winvhd' -Name 'FixPresentBefore' -Kind ([Microsoft.Win32.RegistryValueKind]::DWord) -Value ([int]$present)
    }
    $replaced = @($files | Where-Object -FilterScript { -not $_.same }).Count
    Write-StageResult -Result ([ordered]@{
            changed         = ($present -ne $true)
            reboot_required = ($present -ne $true)
            exit_code       = $exitCode
            already_present = $present
            replaced_files  = $replaced
        })
}
