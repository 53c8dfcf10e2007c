#Requires -Version 5.1
<#
.SYNOPSIS
    Grow the partition of C: to what the disk holds.

.DESCRIPTION
    A disk made larger than its image keeps the image's partition. Get-PartitionSupportedSize gives the largest size that the free
    space behind the partition allows; Resize-Partition grows it while Windows runs.
    https://learn.microsoft.com/powershell/module/storage/resize-partition

.NOTES
    Input: nothing. A difference below 1 MiB counts as none: partitions end on whole mebibytes.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $null = Read-StageInput
    # The disk may have grown while Windows was running.
    Update-HostStorageCache
    $partition = Get-Partition -DriveLetter 'C'
    $supported = Get-PartitionSupportedSize -DriveLetter 'C'
    $isSmaller = ($supported.SizeMax - $partition.Size) -ge 1MB
    if ($isSmaller) {
        Resize-Partition -DriveLetter 'C' -Size $supported.SizeMax
        $partition = Get-Partition -DriveLetter 'C'
    }
    Write-StageResult -Result ([ordered]@{ changed = $isSmaller; reboot_required = $false; size_bytes = [long]$partition.Size })
}
