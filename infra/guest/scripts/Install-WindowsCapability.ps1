#Requires -Version 5.1
<#
.SYNOPSIS
    Add features on demand.

.DESCRIPTION
    Capabilities come from Windows Update, through the service wuauserv, and are refused (0x80070005) to the network token of a WinRM
    shell: this stage runs as SYSTEM.
    https://learn.microsoft.com/powershell/module/dism/add-windowscapability

.NOTES
    Input: capabilities, by full name. An unknown name is found in the list first: adding it would fail after a long search.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $states = @{}
    foreach ($capability in @(Get-WindowsCapability -Online)) {
        $states[$capability.Name] = [string]$capability.State
    }
    $wanted = @($stageInput.capabilities)
    $installed = @()
    $needsReboot = $false
    foreach ($name in $wanted) {
        if (-not $states.ContainsKey($name)) {
            throw (New-StageFailure -Code 'unknown-capability' -Message "this Windows has no capability $name")
        }
        if (@('Installed', 'InstallPending') -contains $states[$name]) {
            $needsReboot = $needsReboot -or ($states[$name] -eq 'InstallPending')
            continue
        }
        Write-StageProgress -Message "adding $name" -Done $installed.Count -Total $wanted.Count
        $outcome = Invoke-WithRetry -Attempts 3 -PauseSecond 20 -Action { Add-WindowsCapability -Online -Name $name }
        $needsReboot = $needsReboot -or [bool]$outcome.RestartNeeded
        $installed += $name
    }
    Write-StageResult -Result ([ordered]@{ changed = ($installed.Count -gt 0); reboot_required = $needsReboot; installed = @($installed) })
}
