#Requires -Version 5.1
<#
.SYNOPSIS
    Prove after the restart that a private fix is in Windows, write down what it changed, and remove what its installation left.

.DESCRIPTION
    Servicing finishes a package while Windows starts, and undoes it when that fails (0x800f0922): then nothing is listed as installed that
    was not there before. Replaced files must have the hashes that the .zip gave them; they get the rights and the owner of the originals.
    A file that is renamed keeps its rights, so a new one gets those of the folder that it is in now.
    With test signing, the boot options that Windows started with name it.
    https://learn.microsoft.com/windows-hardware/drivers/install/the-testsigning-boot-configuration-option
    https://learn.microsoft.com/windows-server/administration/windows-commands/icacls
    The record stays in the image, outside the build's folder: Test-PrivateFix.ps1 goes by it on the machine that is tested. An .exe tells
    nobody what it changed, so it has none.

.NOTES
    Input: kind, sha256. Runs once, after Install-PrivateFix.ps1 and a restart.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Record = 'C:\ProgramData\winvhd\private-fix.json'

function Restore-Protection {
    # Give a replaced file the rights of the one before it and Windows' own owner, and a new file the rights of its folder.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][psobject]$File)
    $folder = [System.IO.Path]::GetDirectoryName($File.path)
    $exitCodes = @(
        if ($File.existed) {
            # The owner first: once the rights are those of the original, only TrustedInstaller may change anything.
            (Complete-NativeCommand -Command (Start-NativeCommand -FilePath 'icacls.exe' -ArgumentList @($File.path, '/setowner', 'NT SERVICE\TrustedInstaller', '/q')) -AnyExitCode).ExitCode
            (Complete-NativeCommand -Command (Start-NativeCommand -FilePath 'icacls.exe' -ArgumentList @($folder, '/restore', $File.acl, '/q')) -AnyExitCode).ExitCode
        }
        else {
            (Complete-NativeCommand -Command (Start-NativeCommand -FilePath 'icacls.exe' -ArgumentList @($File.path, '/reset', '/q')) -AnyExitCode).ExitCode
        }
    )
    if (@($exitCodes | Where-Object -FilterScript { $_ -ne 0 }).Count -gt 0) {
        # The programs' own text names the file, and so what the fix changes.
        throw (New-StageFailure -Code 'access-denied' -Message "the rights of a file of the fix can not be set: exit codes $($exitCodes -join ', ')")
    }
}

function Confirm-Replacement {
    # The number of files that have the hash they must have; another hash ends the stage.
    [CmdletBinding()]
    [OutputType([int])]
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$File)
    $verified = 0
    foreach ($one in $File) {
        if ((-not [System.IO.File]::Exists($one.path)) -or ((Get-FileSha256 -Path $one.path) -ne $one.sha256)) {
            throw (New-StageFailure -Code 'fix-not-in-place' -Message "$($File.Count - $verified) of $($File.Count) files were not replaced by the restart")
        }
        if (-not $one.same) {
            Restore-Protection -File $one
        }
        $verified++
    }
    return $verified
}

function Write-Record {
    # Keep in the image what must still hold where it is tested.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Sha256,
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$File,
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$Package
    )
    $files = @($File | ForEach-Object -Process { @{ path = [string]$_.path; sha256 = [string]$_.sha256 } })
    $record = [ordered]@{ sha256 = $Sha256; files = $files; packages = $Package }
    $null = Set-TextContent -Path $script:Record -Text (ConvertTo-Json -InputObject $record -Depth 4)
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $stem = Join-Path -Path $PSScriptRoot -ChildPath "fix-$($stageInput.sha256.Substring(0, 12))"
    if (-not [System.IO.File]::Exists("$stem.json")) {
        throw (New-StageFailure -Code 'fix-unknown' -Message 'nothing on this guest says that the fix was installed')
    }
    $known = ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText("$stem.json"))
    $before = @($known.packages)
    $new = @(Get-ServicingPackage -State @(112) | Where-Object -FilterScript { $before -notcontains $_ })
    if ((@('msu', 'cab') -contains $stageInput.kind) -and (-not $known.present) -and ($new.Count -eq 0)) {
        throw (New-StageFailure -Code 'fix-rolled-back' -Message 'Windows undid the fix while it started; CBS.log says why, often 0x800f0922')
    }
    try {
        $verified = Confirm-Replacement -File @($known.files)
    }
    catch {
        if ($_.Exception.Data.Contains('StageCode')) {
            throw
        }
        # What Windows says names the file, and so what the fix changes.
        $kindOfError = $_.Exception.GetBaseException().GetType().Name
        throw (New-StageFailure -Code (Get-FailureCode -Exception $_.Exception) -Message "a replaced file can not be checked: $kindOfError")
    }
    $options = [string](Get-RegistryValue -Path 'HKLM:\SYSTEM\CurrentControlSet\Control' -Name 'SystemStartOptions')
    $testSigning = $options -match '(^|\s)TESTSIGNING(\s|$)'
    if (($stageInput.kind -eq 'zip') -and (-not $testSigning)) {
        throw (New-StageFailure -Code 'test-signing-refused' -Message 'Windows started without test signing')
    }
    if ($stageInput.kind -ne 'exe') {
        Write-Record -Sha256 $stageInput.sha256 -File @($known.files) -Package $new
    }
    foreach ($left in @("$stem.json", $stem, "$stem-acl")) {
        if (Test-Path -LiteralPath $left) {
            Remove-Item -LiteralPath $left -Recurse -Force
        }
    }
    Write-StageResult -Result ([ordered]@{
            changed         = $true
            reboot_required = $false
            verified_files  = $verified
            new_packages    = $new.Count
            test_signing    = $testSigning
        })
}
