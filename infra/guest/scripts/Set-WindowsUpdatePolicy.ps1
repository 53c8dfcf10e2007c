#Requires -Version 5.1
<#
.SYNOPSIS
    Switch automatic updates off (or on) by policy.

.DESCRIPTION
    The policy NoAutoUpdate=1 stops automatic updates; the service wuauserv stays enabled, since wusa.exe, capabilities and Defender
    need it (wusa.exe fails with 1058 when it is disabled).
    https://learn.microsoft.com/windows/deployment/update/waas-wu-settings

.NOTES
    Input: no_auto_update.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $path = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU'
    $changed = Set-RegistryValue -Path $path -Name 'NoAutoUpdate' -Kind 'DWord' -Value ([int][bool]$stageInput.no_auto_update)
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
