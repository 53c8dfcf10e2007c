#Requires -Version 5.1
<#
.SYNOPSIS
    Remove superseded components from Windows' component store.

.DESCRIPTION
    Each cumulative update leaves the components that it replaces in C:\Windows\WinSxS. StartComponentCleanup removes them at once, where the
    scheduled task of Windows would wait for thirty days. It runs in the layer that installs the updates, after the restart that completes them:
    it takes minutes, and later layers add nothing to the store. DISM refuses while an operation still waits for a restart.
    https://learn.microsoft.com/windows-hardware/manufacture/desktop/clean-up-the-winsxs-folder

.NOTES
    Input: nothing. Running it again finds nothing to do.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $null = Read-StageInput
    $before = Get-FreeSpace
    $null = Invoke-NativeCommand -FilePath 'dism.exe' -ArgumentList @('/Online', '/Cleanup-Image', '/StartComponentCleanup', '/Quiet', '/NoRestart') -AllowedExitCode @(0, 3010)
    $after = Get-FreeSpace
    Write-StageResult -Result ([ordered]@{
            changed         = ($after -gt $before)
            reboot_required = $false
            free_bytes      = $after
        })
}
