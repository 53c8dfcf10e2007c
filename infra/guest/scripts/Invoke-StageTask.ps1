#Requires -Version 5.1
<#
.SYNOPSIS
    What the scheduled task runs: take script and input from the pipe, run the script, leave its output and exit code.

.DESCRIPTION
    The output goes to <run_id>.out as it comes, in a file that others may read and delete meanwhile; a write buffer of one byte means none.
    The script is a child process, so that it gets its input on standard input as everywhere else, and can be ended when its time is up.
    The exit code is written under another name and renamed: who sees <run_id>.exit sees all of it, after all of the output.
    https://learn.microsoft.com/dotnet/api/system.io.fileshare

.NOTES
    Parameter: RunId. Result lines are the script's own. The last contact removes the folder while this still runs; then there is
    nothing left to write to, and nothing is written.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9-]{1,80}$')][string]$RunId
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Read-StagePipe {
    # Script, input and time limit, as Start-StageTask.ps1 sends them.
    [CmdletBinding()]
    [OutputType([psobject])]
    param([Parameter(Mandatory = $true)][string]$Name)
    $pipe = New-Object -TypeName 'System.IO.Pipes.NamedPipeClientStream' -ArgumentList @('.', $Name, [System.IO.Pipes.PipeDirection]::In)
    try {
        $pipe.Connect(60000)
        $buffer = New-Object -TypeName 'System.IO.MemoryStream'
        $pipe.CopyTo($buffer)
    }
    finally {
        $pipe.Dispose()
    }
    return ConvertFrom-Json -InputObject ([System.Text.Encoding]::UTF8.GetString($buffer.ToArray()))
}

function New-OutputFile {
    # A file that shows what is written at once, and that others may read and delete.
    [CmdletBinding()]
    [OutputType([System.IO.FileStream])]
    param([Parameter(Mandatory = $true)][string]$Path)
    $share = [System.IO.FileShare]'ReadWrite, Delete'
    return New-Object -TypeName 'System.IO.FileStream' -ArgumentList @($Path, [System.IO.FileMode]::Create, [System.IO.FileAccess]::Write, $share, 1)
}

function Write-ExitCode {
    # Leave the exit code, unless the folder is gone.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][int]$ExitCode
    )
    if ((-not [System.IO.File]::Exists($Path)) -and [System.IO.Directory]::Exists([System.IO.Path]::GetDirectoryName($Path))) {
        [System.IO.File]::WriteAllText("$Path.part", [string]$ExitCode)
        [System.IO.File]::Move("$Path.part", $Path)
    }
}

function Write-TimeoutLine {
    # The error line of a script that was ended, in place of its own.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][System.IO.Stream]$Stream,
        [Parameter(Mandatory = $true)][int]$TimeoutSecond
    )
    $line = [ordered]@{ event = 'error'; code = 'timeout'; message = "the script did not end within $TimeoutSecond s" }
    $bytes = [System.Text.Encoding]::UTF8.GetBytes("`n" + (ConvertTo-Json -InputObject $line -Compress) + "`n")
    $Stream.Write($bytes, 0, $bytes.Length)
}

function Invoke-StageScript {
    # Run the script with its input; its exit code, 124 when its time was up.
    [CmdletBinding()]
    [OutputType([int])]
    param(
        [Parameter(Mandatory = $true)][psobject]$Content,
        [Parameter(Mandatory = $true)][string]$Id,
        [Parameter(Mandatory = $true)][System.IO.Stream]$Output,
        [Parameter(Mandatory = $true)][System.IO.Stream]$ErrorOutput
    )
    $text = ConvertTo-Json -InputObject $Content.input -Compress -Depth 20
    $path = Join-Path -Path $PSScriptRoot -ChildPath $Content.script
    $start = @{
        FilePath     = Join-Path -Path $PSHOME -ChildPath 'powershell.exe'
        ArgumentList = @('-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', $path)
        InputBytes   = [System.Text.Encoding]::UTF8.GetBytes($text)
        Environment  = @{ WINVHD_RUN_ID = $Id }
        OutputStream = $Output
        ErrorStream  = $ErrorOutput
    }
    $command = Start-NativeCommand @start
    try {
        return (Complete-NativeCommand -Command $command -AnyExitCode -TimeoutSecond $Content.timeout_s).ExitCode
    }
    catch {
        if ((Get-FailureCode -Exception $_.Exception) -ne 'timeout') {
            throw
        }
        Write-TimeoutLine -Stream $Output -TimeoutSecond $Content.timeout_s
        return 124
    }
}

$exitPath = Get-RunPath -RunId $RunId -Kind 'exit'
$output = New-OutputFile -Path (Get-RunPath -RunId $RunId -Kind 'out')
$errorOutput = New-OutputFile -Path (Get-RunPath -RunId $RunId -Kind 'err')
$exitCode = 1
try {
    # For whoever has to end this run from outside.
    [System.IO.File]::WriteAllText((Get-RunPath -RunId $RunId -Kind 'pid'), [string]$PID)
    $content = Read-StagePipe -Name "winvhd-$RunId"
    $exitCode = Invoke-StageScript -Content $content -Id $RunId -Output $output -ErrorOutput $errorOutput
}
catch {
    $bytes = [System.Text.Encoding]::UTF8.GetBytes([string]$_)
    $errorOutput.Write($bytes, 0, $bytes.Length)
}
finally {
    $output.Dispose()
    $errorOutput.Dispose()
    Write-ExitCode -Path $exitPath -ExitCode $exitCode
}
exit $exitCode
