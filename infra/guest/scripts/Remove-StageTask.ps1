#Requires -Version 5.1
<#
.SYNOPSIS
    Forget an elevated run that has been read to its end.

.DESCRIPTION
    A run that still goes on is told instead that its result was read: the last contact (Invoke-Generalize.ps1) waits for that before it removes
    what the link needs, and says by <run_id>.wait that it does. Nothing may be written after that answer: the folder is going.
    With stop, a run that goes on is ended first: Task Scheduler ends the task's own process only, so the tree of what it started is ended
    by the process id that Invoke-StageTask.ps1 left.
    https://learn.microsoft.com/powershell/module/scheduledtasks/unregister-scheduledtask
    https://learn.microsoft.com/windows-server/administration/windows-commands/taskkill

.NOTES
    Input: run_id, stop.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Wait-TaskEnd {
    # A task runs on for a moment after its script has left its exit code.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$TaskName,
        [Parameter(Mandatory = $true)][int]$TimeoutSecond
    )
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    while ($clock.Elapsed.TotalSeconds -lt $TimeoutSecond) {
        $task = Get-ScheduledTask -TaskName $TaskName -ErrorAction SilentlyContinue
        if (($null -eq $task) -or ([string]$task.State -ne 'Running')) {
            return
        }
        Start-Sleep -Milliseconds 200
    }
}

function Stop-RunningTask {
    # End a run with everything it started.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$TaskName,
        [Parameter(Mandatory = $true)][string]$RunId
    )
    $task = Get-ScheduledTask -TaskName $TaskName -ErrorAction SilentlyContinue
    if (($null -eq $task) -or ([string]$task.State -ne 'Running')) {
        # Without the task the number may be another process's by now.
        return
    }
    $path = Get-RunPath -RunId $RunId -Kind 'pid'
    if ([System.IO.File]::Exists($path)) {
        # 128: it ended by itself meanwhile.
        $null = Invoke-NativeCommand -FilePath 'taskkill.exe' -ArgumentList @('/PID', [System.IO.File]::ReadAllText($path), '/T', '/F') -AllowedExitCode @(0, 128, 255)
    }
    Stop-ScheduledTask -TaskName $TaskName
    Wait-TaskEnd -TaskName $TaskName -TimeoutSecond 15
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $runId = [string]$stageInput.run_id
    $taskName = "winvhd-$runId"
    $changed = $false
    if ($stageInput.stop) {
        Stop-RunningTask -TaskName $taskName -RunId $runId
    }
    $isWaiting = [System.IO.File]::Exists((Get-RunPath -RunId $runId -Kind 'wait'))
    if (-not $isWaiting) {
        Wait-TaskEnd -TaskName $taskName -TimeoutSecond 5
    }
    $task = Get-ScheduledTask -TaskName $taskName -ErrorAction SilentlyContinue
    if (($null -ne $task) -and ([string]$task.State -eq 'Running')) {
        $changed = Set-TextContent -Path (Get-RunPath -RunId $runId -Kind 'read') -Text 'read'
    }
    else {
        if ($null -ne $task) {
            Unregister-ScheduledTask -TaskName $taskName -Confirm:$false
            $changed = $true
        }
        foreach ($kind in @('out', 'err', 'exit', 'read', 'wait', 'pid', 'claim')) {
            $path = Get-RunPath -RunId $runId -Kind $kind
            if ([System.IO.File]::Exists($path)) {
                Remove-Item -LiteralPath $path -Force
                $changed = $true
            }
        }
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
