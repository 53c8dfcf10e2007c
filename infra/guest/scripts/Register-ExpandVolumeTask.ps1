#Requires -Version 5.1
<#
.SYNOPSIS
    Register the task that grows C: to its disk when a node starts.

.DESCRIPTION
    A node's OS disk may be larger than the image. The task runs at every start as SYSTEM and does nothing when C: has its full size already; it
    needs no file of the build. Resize-Partition fails for a size that the partition has, hence the comparison.
    https://learn.microsoft.com/powershell/module/scheduledtasks/register-scheduledtask

.NOTES
    Input: nothing. The task is called expand-os-volume.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:TaskName = 'expand-os-volume'
# A constant: what the task runs on every node is exactly this text.
$script:Arguments = @(
    '-NoProfile -NonInteractive -ExecutionPolicy Bypass -Command'
    '"$max = (Get-PartitionSupportedSize -DriveLetter C).SizeMax;'
    'if ($max -gt (Get-Partition -DriveLetter C).Size + 1MB) { Resize-Partition -DriveLetter C -Size $max }"'
) -join ' '

Invoke-Stage -Body {
    $null = Read-StageInput
    $current = Get-ScheduledTask -TaskName $script:TaskName -TaskPath '\' -ErrorAction SilentlyContinue
    $changed = ($null -eq $current) -or (@($current.Actions)[0].Arguments -cne $script:Arguments)
    if ($changed) {
        $definition = @{
            TaskName  = $script:TaskName
            Action    = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument $script:Arguments
            Trigger   = New-ScheduledTaskTrigger -AtStartup
            Principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
            Settings  = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries
        }
        $null = Register-ScheduledTask @definition -Force
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
