#Requires -Version 5.1
<#
.SYNOPSIS
    Start WinRM at boot with or without delay.

.DESCRIPTION
    Hyper-V rebuilds the network at its first boot and cuts WinRM's connections: a delayed start waits until that is over. sc.exe can set
    delayed-auto, Set-Service of Windows PowerShell 5.1 can not.
    https://learn.microsoft.com/windows-server/administration/windows-commands/sc-config

.NOTES
    Input: mode, auto or delayed-auto. The mode is read from the registry: Start 2, DelayedAutostart 1.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $path = 'HKLM:\SYSTEM\CurrentControlSet\Services\WinRM'
    $isAutomatic = (Get-RegistryValue -Path $path -Name 'Start') -eq 2
    $isDelayed = (Get-RegistryValue -Path $path -Name 'DelayedAutostart') -eq 1
    $changed = (-not $isAutomatic) -or ($isDelayed -ne ($stageInput.mode -eq 'delayed-auto'))
    if ($changed) {
        # sc.exe takes the value as an argument of its own, behind "start=".
        $null = Invoke-NativeCommand -FilePath 'sc.exe' -ArgumentList @('config', 'WinRM', 'start=', [string]$stageInput.mode)
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
