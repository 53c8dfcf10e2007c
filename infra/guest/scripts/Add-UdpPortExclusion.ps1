#Requires -Version 5.1
<#
.SYNOPSIS
    Keep UDP ports from being given out dynamically.

.DESCRIPTION
    netsh keeps excluded port ranges over restarts. Azure's host uses UDP 65330 inside the guest: a process that got it by chance would
    lose its traffic.
    https://learn.microsoft.com/windows-server/administration/windows-commands/netsh-interface

.NOTES
    Input: ports. Adding a range that is there already fails, so it is looked up first.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $changed = $false
    $excluded = @(Get-ExcludedUdpPort)
    foreach ($port in @($stageInput.ports)) {
        if ($excluded -contains $port) {
            continue
        }
        $arguments = @('interface', 'ipv4', 'add', 'excludedportrange', 'protocol=udp', "startport=$port", 'numberofports=1', 'store=persistent')
        $null = Invoke-NativeCommand -FilePath 'netsh.exe' -ArgumentList $arguments
        $changed = $true
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
