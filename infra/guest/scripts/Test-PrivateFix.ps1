#Requires -Version 5.1
<#
.SYNOPSIS
    Look whether a private fix is in effect on a machine made from its image.

.DESCRIPTION
    Sysprep generalizes the boot configuration, too (Sysprep_Generalize_Bcd in setupact.log), and servicing may repair files that were replaced:
    that a fix was there before says nothing. What it changed is in the record that Confirm-PrivateFix.ps1 left in the image: each replaced file
    must have its hash, each package must still be installed. With test signing, the boot options that Windows started with name it.
    Counts go out, and no name of a file or package.
    http://paradisj.blogspot.com/2012/02/sysprep-generalize-bcd-store-stop.html
    https://learn.microsoft.com/windows-hardware/drivers/install/the-testsigning-boot-configuration-option

.NOTES
    Input: sha256. Changes nothing.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Record = 'C:\ProgramData\winvhd\private-fix.json'

function Read-Record {
    # What the fix changed, or nothing when the image holds no record of this fix that can be read.
    [CmdletBinding()]
    [OutputType([psobject])]
    param([Parameter(Mandatory = $true)][string]$Sha256)
    if (-not [System.IO.File]::Exists($script:Record)) {
        return $null
    }
    try {
        $record = ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText($script:Record))
        if ($record.sha256 -eq $Sha256) {
            return $record
        }
    }
    catch {
        # The parser's text quotes the record.
        Write-StageLog -Message "the record of the fix can not be read: $($_.Exception.GetBaseException().GetType().Name)"
    }
    return $null
}

function Test-Replacement {
    # True when a file has the hash that the fix gave it; one that nobody can read has not.
    [CmdletBinding()]
    [OutputType([bool])]
    param([Parameter(Mandatory = $true)][psobject]$File)
    try {
        return [System.IO.File]::Exists($File.path) -and ((Get-FileSha256 -Path $File.path) -eq $File.sha256)
    }
    catch {
        # What Windows says names the file, and so what the fix changes.
        Write-StageLog -Message "a replaced file can not be read: $($_.Exception.GetBaseException().GetType().Name)"
        return $false
    }
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $record = Read-Record -Sha256 $stageInput.sha256
    $files = @()
    $packages = @()
    if ($null -ne $record) {
        $files = @($record.files)
        $packages = @($record.packages)
    }
    $inPlace = @($files | Where-Object -FilterScript { Test-Replacement -File $_ })
    $present = @(Get-ServicingPackage -State @(112))
    $installed = @($packages | Where-Object -FilterScript { $present -contains $_ })
    $options = [string](Get-RegistryValue -Path 'HKLM:\SYSTEM\CurrentControlSet\Control' -Name 'SystemStartOptions')
    Write-StageResult -Result ([ordered]@{
            changed            = $false
            reboot_required    = $false
            recorded           = ($null -ne $record)
            files              = $files.Count
            files_in_place     = $inPlace.Count
            packages           = $packages.Count
            packages_installed = $installed.Count
            test_signing       = ($options -match '(^|\s)TESTSIGNING(\s|$)')
        })
}
