#Requires -Version 5.1
<#
.SYNOPSIS
    Refuse or allow new outbound connections.

.DESCRIPTION
    A blocking rule wins over allowing ones. It is about connections that start here: answers of connections that came in, such as WinRM's, pass.
    https://learn.microsoft.com/windows/security/operating-system-security/network-security/windows-firewall/rules

.NOTES
    Input: blocked. Loopback is not touched: connections of a machine to itself are not filtered by these rules.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:RuleName = 'winvhd-block-outbound'

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $rule = Get-NetFirewallRule -Name $script:RuleName -ErrorAction SilentlyContinue
    $changed = ($null -ne $rule) -ne [bool]$stageInput.blocked
    if ($changed -and $stageInput.blocked) {
        $null = New-NetFirewallRule -Name $script:RuleName -DisplayName 'No outbound connections during the boot test' -Direction Outbound -Action Block -Profile Any
    }
    elseif ($changed) {
        Remove-NetFirewallRule -Name $script:RuleName
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
