#Requires -Version 5.1
<#
.SYNOPSIS
    Install server features.

.DESCRIPTION
    Install-WindowsFeature installs what a feature depends on, and answers RestartNeeded; until that restart a feature is InstallPending.
    Get-WindowsFeature gives nothing for an unknown name. Hyper-V starts at boot only when the boot entry lets it.
    https://learn.microsoft.com/powershell/module/servermanager/install-windowsfeature
    https://learn.microsoft.com/windows-hardware/drivers/devtest/bcdedit--set

.NOTES
    Input: features. Runs as SYSTEM. Windows PowerShell only: the module ServerManager does not load elsewhere.
    WinRM must start delayed before the restart that brings Hyper-V (Set-WinRmStartMode.ps1).
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $wanted = @($stageInput.features)
    $missing = @()
    $needsReboot = $false
    foreach ($name in $wanted) {
        $feature = Get-WindowsFeature -Name $name
        if ($null -eq $feature) {
            throw (New-StageFailure -Code 'unknown-feature' -Message "this Windows has no feature $name")
        }
        $state = [string]$feature.InstallState
        $needsReboot = $needsReboot -or ($state -eq 'InstallPending')
        if ($state -eq 'Removed') {
            throw (New-StageFailure -Code 'feature-removed' -Message "the files of feature $name are not on this Windows")
        }
        if ($state -eq 'Available') {
            $missing += $name
        }
    }
    $added = @()
    if ($missing.Count -gt 0) {
        if ($missing -contains 'Hyper-V') {
            $null = Invoke-NativeCommand -FilePath 'bcdedit.exe' -ArgumentList @('/set', 'hypervisorlaunchtype', 'auto')
        }
        Write-StageProgress -Message "installing $($missing -join ', ')"
        $outcome = Install-WindowsFeature -Name $missing
        if (-not $outcome.Success) {
            throw (New-StageFailure -Code 'feature-failed' -Message "installing $($missing -join ', ') ended with $($outcome.ExitCode)")
        }
        $added = @($outcome.FeatureResult | ForEach-Object -Process { [string]$_.Name })
        $needsReboot = $needsReboot -or ([string]$outcome.RestartNeeded -ne 'No')
    }
    Write-StageResult -Result ([ordered]@{ changed = ($added.Count -gt 0); reboot_required = $needsReboot; installed = @($added) })
}
