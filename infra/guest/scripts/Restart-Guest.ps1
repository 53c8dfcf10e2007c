#Requires -Version 5.1
<#
.SYNOPSIS
    Restart Windows in two seconds, and answer before.

.DESCRIPTION
    shutdown.exe schedules the restart and returns; the two seconds let the answer out. 1115 means that a shutdown is under way already,
    1190 that one is scheduled. Whether Windows restarted shows in its boot time, not in an open port.
    https://learn.microsoft.com/windows-server/administration/windows-commands/shutdown

.NOTES
    Input: nothing. Reason p:2:4: planned, operating system, reconfiguration.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $null = Read-StageInput
    $bootTime = Get-BootTime
    $null = Invoke-NativeCommand -FilePath 'shutdown.exe' -ArgumentList @('/r', '/t', '2', '/d', 'p:2:4') -AllowedExitCode @(0, 1115, 1190)
    Write-StageResult -Result ([ordered]@{ changed = $true; reboot_required = $false; boot_time = $bootTime })
}
