#Requires -Version 5.1
<#
.SYNOPSIS
    Give what an elevated run has written from an offset on, waiting for something new.

.DESCRIPTION
    The files are open for writing, so they are opened for shared reading and deleting. Whether the run has ended is looked up before its output:
    what was written before the end is then surely seen. A run without exit code and without a running task was cut off, by a restart for example.
    https://learn.microsoft.com/powershell/module/scheduledtasks/get-scheduledtask

.NOTES
    Input: run_id, offset, wait_s, max_bytes, with_errors. Bytes travel as base64: a cut may fall into the middle of a character.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Read-FilePart {
    # Up to Length bytes of a file that is being written, from Offset on; nothing when there is no such file.
    [CmdletBinding()]
    [OutputType([byte[]])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][long]$Offset,
        [Parameter(Mandatory = $true)][int]$Length
    )
    if (-not [System.IO.File]::Exists($Path)) {
        return , (New-Object -TypeName 'byte[]' -ArgumentList 0)
    }
    $share = [System.IO.FileShare]'ReadWrite, Delete'
    $stream = New-Object -TypeName 'System.IO.FileStream' -ArgumentList @($Path, [System.IO.FileMode]::Open, [System.IO.FileAccess]::Read, $share)
    try {
        $from = $Offset
        if ($Offset -lt 0) {
            $from = [Math]::Max(0, $stream.Length + $Offset)
        }
        $buffer = New-Object -TypeName 'byte[]' -ArgumentList ([int][Math]::Max(0, [Math]::Min($Length, $stream.Length - $from)))
        $null = $stream.Seek($from, [System.IO.SeekOrigin]::Begin)
        $count = $stream.Read($buffer, 0, $buffer.Length)
        [System.Array]::Resize([ref]$buffer, $count)
        return , $buffer
    }
    finally {
        $stream.Dispose()
    }
}

function Get-RunState {
    # running, ended or unknown, and the exit code of a run that ended.
    [CmdletBinding()]
    [OutputType([psobject])]
    param([Parameter(Mandatory = $true)][string]$RunId)
    $path = Get-RunPath -RunId $RunId -Kind 'exit'
    if ([System.IO.File]::Exists($path)) {
        return [pscustomobject]@{ State = 'ended'; ExitCode = [int][System.IO.File]::ReadAllText($path) }
    }
    $task = Get-ScheduledTask -TaskName "winvhd-$RunId" -ErrorAction SilentlyContinue
    if (($null -ne $task) -and (@('Running', 'Queued') -contains [string]$task.State)) {
        return [pscustomobject]@{ State = 'running'; ExitCode = $null }
    }
    # It may have ended between the two looks.
    if ([System.IO.File]::Exists($path)) {
        return [pscustomobject]@{ State = 'ended'; ExitCode = [int][System.IO.File]::ReadAllText($path) }
    }
    return [pscustomobject]@{ State = 'unknown'; ExitCode = $null }
}

function Get-ErrorTail {
    # The last 4,096 characters of the error stream.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][string]$RunId)
    $bytes = Read-FilePart -Path (Get-RunPath -RunId $RunId -Kind 'err') -Offset -16384 -Length 16384
    $text = [System.Text.Encoding]::UTF8.GetString($bytes)
    return $text.Substring([Math]::Max(0, $text.Length - 4096))
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $runId = [string]$stageInput.run_id
    $offset = [long]$stageInput.offset
    $path = Get-RunPath -RunId $runId -Kind 'out'
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    do {
        $run = Get-RunState -RunId $runId
        $bytes = Read-FilePart -Path $path -Offset $offset -Length $stageInput.max_bytes
        $isOver = ($bytes.Length -gt 0) -or ($run.State -ne 'running') -or ($clock.Elapsed.TotalSeconds -ge $stageInput.wait_s)
        if (-not $isOver) {
            Start-Sleep -Milliseconds 200
        }
    } until ($isOver)
    $errorTail = ''
    if (($run.State -eq 'ended') -or $stageInput.with_errors) {
        $errorTail = Get-ErrorTail -RunId $runId
    }
    Write-StageResult -Result ([ordered]@{
            changed         = $false
            reboot_required = $false
            data            = [System.Convert]::ToBase64String($bytes)
            next_offset     = $offset + $bytes.Length
            state           = $run.State
            exit_code       = $run.ExitCode
            stderr_tail     = $errorTail
        })
}
