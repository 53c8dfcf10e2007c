#Requires -Version 5.1
<#
.SYNOPSIS
    Remove what must not be in a checkpoint: the traces of Run Command and of runs that nobody reads any more.

.DESCRIPTION
    The last stage before a VM is stopped for its checkpoint. The VM is started again and goes on; a disk made from the checkpoint becomes
    another VM, which makes first contact anew.
    - Status files and settings of past commands would answer in the place of new ones, since another VM counts its commands from the
      beginning. They, and the scripts that were run, go. The handler's own program stays: Azure's agent has it down as installed, does not fetch
      it again, and an extension whose HandlerManifest.json is missing does not run any more.
    - Runs of stages that were left behind (their output in C:\winvhd\runs, their task) go. Their inputs are not there: those never touch the
      disk. While one still runs there is nothing to save, and this fails.
    - The build account, the listener and its certificate stay: the VM that goes on is reached by them again without the half minute that
      a Run Command takes. In the checkpoint they are worth nothing: the disk holds the hash of a random password that lived in one
      process's memory, and a key for an address that nobody dials any more. First contact with the restored disk replaces password,
      certificate, key and listener before anything else happens; until then only the builder's own address reaches the port. No image has
      them: Invoke-Generalize.ps1 removes them all. Whoever may read the snapshot in Azure may run commands in the VM, and needs no key.
    - The scripts in C:\winvhd stay too: they are no secret, and every link replaces them with its own.
    https://learn.microsoft.com/azure/virtual-machines/windows/run-command-managed
    https://github.com/MicrosoftDocs/azure-management-docs/pull/108 (a handler whose folder was removed)
    https://github.com/Azure/WALinuxAgent/issues/948 (old status and settings of a disk that changed its VM)
    https://blakedrumm.com/blog/azure-update-manager-status-cleanup (where the files lie on Windows)

.NOTES
    Input: nothing. What can not be removed fails the stage: no checkpoint is made then.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Plugins = 'C:\Packages\Plugins'
$script:Handlers = 'Microsoft.CPlat.Core.RunCommand*'
$script:Traces = @('Status', 'RuntimeSettings', 'Downloads')

function Clear-Folder {
    # Remove what is in a folder; the paths of what went. A file that is being read is tried again.
    [CmdletBinding()]
    [OutputType([string[]])]
    param([Parameter(Mandatory = $true)][string]$Path)
    foreach ($item in @(Get-ChildItem -LiteralPath $Path -Force -ErrorAction SilentlyContinue)) {
        $name = $item.FullName
        Invoke-WithRetry -Attempts 3 -PauseSecond 2 -Action { Remove-Item -LiteralPath $name -Recurse -Force }
        $name
    }
}

function Clear-HandlerTrace {
    # Remove what the handlers of Run Command, in all their versions, keep of past commands.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    $pattern = Join-Path -Path $script:Plugins -ChildPath $script:Handlers
    foreach ($handler in @(Get-ChildItem -Path $pattern -Directory -ErrorAction SilentlyContinue)) {
        foreach ($version in @(Get-ChildItem -LiteralPath $handler.FullName -Directory -Force)) {
            foreach ($trace in $script:Traces) {
                Clear-Folder -Path (Join-Path -Path $version.FullName -ChildPath $trace)
            }
        }
    }
}

function Clear-StageRun {
    # Remove tasks and output of runs that have ended; one that still runs is an error.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    foreach ($task in @(Get-ScheduledTask -TaskName 'winvhd-*' -ErrorAction SilentlyContinue)) {
        if ([string]$task.State -eq 'Running') {
            throw (New-StageFailure -Code 'stage-running' -Message "the task $($task.TaskName) still runs")
        }
        Unregister-ScheduledTask -TaskName $task.TaskName -Confirm:$false
        "\$($task.TaskName)"
    }
    Clear-Folder -Path (Join-Path -Path $PSScriptRoot -ChildPath 'runs')
}

Invoke-Stage -Body {
    $null = Read-StageInput
    $removed = @(
        Clear-StageRun
        Clear-HandlerTrace
    )
    Write-StageResult -Result ([ordered]@{
            changed         = ($removed.Count -gt 0)
            reboot_required = $false
            removed         = $removed
        })
}
