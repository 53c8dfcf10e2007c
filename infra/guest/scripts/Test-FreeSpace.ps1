#Requires -Version 5.1
<#
.SYNOPSIS
    Fail when C: has less free space than the image must have.

.DESCRIPTION
    A node writes logs and pulls images from its first minute on; an image that fills its disk breaks there.
    https://learn.microsoft.com/dotnet/api/system.io.driveinfo.availablefreespace

.NOTES
    Input: minimum_free_bytes. Changes nothing.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $free = Get-FreeSpace
    if ($free -lt $stageInput.minimum_free_bytes) {
        throw (New-StageFailure -Code 'free-space' -Message "C: has $free bytes free, $($stageInput.minimum_free_bytes) are wanted")
    }
    Write-StageResult -Result ([ordered]@{ changed = $false; reboot_required = $false; free_bytes = $free })
}
