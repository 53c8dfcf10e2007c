#Requires -Version 5.1
<#
.SYNOPSIS
    Give Windows a page file of a fixed size on C:, or none.

.DESCRIPTION
    Win32_PageFileSetting counts only while AutomaticManagedPagefile of Win32_ComputerSystem is false; sizes are in MiB. A change works after a
    restart.
    https://learn.microsoft.com/windows/win32/cimwin32prov/win32-pagefilesetting

.NOTES
    Input: size_mib, 0 for none.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $size = [uint32]$stageInput.size_mib
    $changed = $false
    $computer = Get-CimInstance -ClassName 'Win32_ComputerSystem'
    if ($computer.AutomaticManagedPagefile) {
        Set-CimInstance -InputObject $computer -Property @{ AutomaticManagedPagefile = $false }
        $changed = $true
    }
    $files = @(Get-CimInstance -ClassName 'Win32_PageFileSetting')
    $right = @($files | Where-Object -FilterScript { ($_.Name -eq 'C:\pagefile.sys') -and ($_.InitialSize -eq $size) -and ($_.MaximumSize -eq $size) })
    foreach ($file in $files) {
        if (($size -eq 0) -or ($right -notcontains $file)) {
            Remove-CimInstance -InputObject $file
            $changed = $true
        }
    }
    if (($size -gt 0) -and ($right.Count -eq 0)) {
        $null = New-CimInstance -ClassName 'Win32_PageFileSetting' -Property @{ Name = 'C:\pagefile.sys'; InitialSize = $size; MaximumSize = $size }
        $changed = $true
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $changed })
}
