#Requires -Version 5.1
<#
.SYNOPSIS
    Start a stage as SYSTEM in a scheduled task, and hand it its input through a named pipe.

.DESCRIPTION
    A WinRM shell has a network token, which servicing refuses (exit 5, 0x80070005), and its job ends what it started. A task of SYSTEM has
    neither limit. Priority 4 is that of a program a user starts (tasks have 7, below normal, also for disk access); PT0S means no time limit;
    IgnoreNew means one instance.
    The input goes through a pipe that only SYSTEM and administrators can open: it holds SAS tokens and never touches the disk.
    https://learn.microsoft.com/windows/win32/taskschd/tasksettings-priority
    https://learn.microsoft.com/windows/win32/taskschd/tasksettings-executiontimelimit
    https://learn.microsoft.com/dotnet/api/system.io.pipes.namedpipeserverstream

.NOTES
    Input: run_id, script, input, timeout_s. A run_id runs once: the file <run_id>.claim can be made by one caller only, and stays until
    Remove-StageTask.ps1. When the stage can not be started, the claim is given back.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function New-StagePipe {
    # The server's end of the pipe for this run.
    [CmdletBinding()]
    [OutputType([System.IO.Pipes.NamedPipeServerStream])]
    param([Parameter(Mandatory = $true)][string]$Name)
    $security = New-Object -TypeName 'System.IO.Pipes.PipeSecurity'
    foreach ($sid in @('S-1-5-18', 'S-1-5-32-544')) {
        $identity = New-Object -TypeName 'System.Security.Principal.SecurityIdentifier' -ArgumentList $sid
        $rights = [System.IO.Pipes.PipeAccessRights]::FullControl
        $rule = New-Object -TypeName 'System.IO.Pipes.PipeAccessRule' -ArgumentList @($identity, $rights, [System.Security.AccessControl.AccessControlType]::Allow)
        $security.AddAccessRule($rule)
    }
    $direction = [System.IO.Pipes.PipeDirection]::Out
    $mode = [System.IO.Pipes.PipeTransmissionMode]::Byte
    $options = [System.IO.Pipes.PipeOptions]::Asynchronous
    # One instance: the name is ours alone, or this fails.
    return New-Object -TypeName 'System.IO.Pipes.NamedPipeServerStream' -ArgumentList @($Name, $direction, 1, $mode, $options, 65536, 65536, $security)
}

function Register-StageTask {
    # A task of SYSTEM without trigger that runs Invoke-StageTask.ps1.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$TaskName,
        [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9-]{1,80}$')][string]$RunId
    )
    $runner = Join-Path -Path $PSScriptRoot -ChildPath 'Invoke-StageTask.ps1'
    $arguments = @('-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', $runner, '-RunId', $RunId)
    $line = @($arguments | ForEach-Object -Process { ConvertTo-NativeArgument -Value $_ }) -join ' '
    $powershell = Join-Path -Path $PSHOME -ChildPath 'powershell.exe'
    $settings = @{
        Priority                   = 4
        ExecutionTimeLimit         = [timespan]::Zero
        MultipleInstances          = 'IgnoreNew'
        AllowStartIfOnBatteries    = $true
        DontStopIfGoingOnBatteries = $true
    }
    $definition = @{
        TaskName  = $TaskName
        Action    = New-ScheduledTaskAction -Execute $powershell -Argument $line
        Principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
        Settings  = New-ScheduledTaskSettingsSet @settings
    }
    $null = Register-ScheduledTask @definition -Force
}

function Send-StageInput {
    # Hand over script and input once the task has opened the pipe.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][System.IO.Pipes.NamedPipeServerStream]$Pipe,
        [Parameter(Mandatory = $true)][System.Collections.IDictionary]$Content
    )
    if (-not $Pipe.WaitForConnectionAsync().Wait(90000)) {
        throw (New-StageFailure -Code 'task-not-started' -Message 'the scheduled task did not open its pipe within 90 s')
    }
    $text = ConvertTo-Json -InputObject $Content -Compress -Depth 20
    $bytes = (New-Object -TypeName 'System.Text.UTF8Encoding' -ArgumentList $false).GetBytes($text)
    $Pipe.Write($bytes, 0, $bytes.Length)
    $Pipe.WaitForPipeDrain()
}

function Start-ClaimedRun {
    # Register and start the task, and give it what it needs.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$TaskName,
        [Parameter(Mandatory = $true)][string]$RunId,
        [Parameter(Mandatory = $true)][System.Collections.IDictionary]$Content
    )
    $pipe = New-StagePipe -Name $TaskName
    try {
        Register-StageTask -TaskName $TaskName -RunId $RunId
        Start-ScheduledTask -TaskName $TaskName
        Send-StageInput -Pipe $pipe -Content $Content
    }
    finally {
        $pipe.Dispose()
    }
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $runId = [string]$stageInput.run_id
    $taskName = "winvhd-$runId"
    $claim = Get-RunPath -RunId $runId -Kind 'claim'
    $null = [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($claim))
    $stageScript = [string]$stageInput.script
    if (($stageScript -notmatch '^[A-Za-z]+-[A-Za-z]+\.ps1$') -or (-not [System.IO.File]::Exists((Join-Path -Path $PSScriptRoot -ChildPath $stageScript)))) {
        throw (New-StageFailure -Code 'unknown-script' -Message "$stageScript is not on the guest")
    }
    $isFirst = $true
    try {
        # Of several callers only one can make the file.
        (New-Object -TypeName 'System.IO.FileStream' -ArgumentList @($claim, [System.IO.FileMode]::CreateNew)).Dispose()
    }
    catch {
        if (-not [System.IO.File]::Exists($claim)) {
            throw
        }
        $isFirst = $false
    }
    if ($isFirst) {
        $content = [ordered]@{ script = $stageScript; input = $stageInput.input; timeout_s = $stageInput.timeout_s }
        try {
            Start-ClaimedRun -TaskName $taskName -RunId $runId -Content $content
        }
        catch {
            Unregister-ScheduledTask -TaskName $taskName -Confirm:$false -ErrorAction SilentlyContinue
            [System.IO.File]::Delete($claim)
            throw
        }
    }
    Write-StageResult -Result ([ordered]@{ changed = $isFirst; reboot_required = $false; task_name = $taskName; started = $isFirst })
}
