#Requires -Version 5.1
<#
.SYNOPSIS
    The ends of the logs that tell why a guest hangs, within what Run Command gives back.

.DESCRIPTION
    Run Command keeps the last 4,096 bytes of a script's output. Sysprep writes setupact.log (everything) and setuperr.log (errors); WinRM has an
    event log of its own; elevated runs of the build leave their error streams in C:\winvhd\runs. Runs through Run Command, when the link does
    not answer.
    https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-log-files-and-event-logs
    https://learn.microsoft.com/azure/virtual-machines/windows/run-command-managed

.NOTES
    Parameters: Nonce, MaximumBytes (4096). The last line is the nonce: a restored disk may answer with an older output. Lines hold ASCII only, so that a character is a byte. URLs are given without their query.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[0-9a-f]{8,64}$')][string]$Nonce,
    [ValidateRange(512, 65536)][int]$MaximumBytes = 4096
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

function Get-FileTail {
    # The last characters of a file that may be open elsewhere.
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][int]$Length
    )
    if (-not [System.IO.File]::Exists($Path)) {
        return ''
    }
    $share = [System.IO.FileShare]'ReadWrite, Delete'
    $stream = New-Object -TypeName 'System.IO.FileStream' -ArgumentList @($Path, [System.IO.FileMode]::Open, [System.IO.FileAccess]::Read, $share)
    try {
        $null = $stream.Seek([Math]::Max(0, $stream.Length - 4 * $Length), [System.IO.SeekOrigin]::Begin)
        $reader = New-Object -TypeName 'System.IO.StreamReader' -ArgumentList $stream
        $text = $reader.ReadToEnd()
    }
    finally {
        $stream.Dispose()
    }
    return $text.Substring([Math]::Max(0, $text.Length - $Length))
}

function Get-WinRmTail {
    # The newest events of WinRM.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][int]$Length)
    $events = @(Get-WinEvent -LogName 'Microsoft-Windows-WinRM/Operational' -MaxEvents 8 -ErrorAction SilentlyContinue)
    $lines = @($events | ForEach-Object -Process { "$($_.TimeCreated.ToUniversalTime().ToString('s')) $($_.Id) $($_.Message)" })
    $text = $lines -join "`n"
    return $text.Substring(0, [Math]::Min($text.Length, $Length))
}

function Get-RunTail {
    # The end of the error stream that was written last.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][int]$Length)
    $newest = Get-ChildItem -Path 'C:\winvhd\runs\*.err' -ErrorAction SilentlyContinue | Sort-Object -Property LastWriteTimeUtc | Select-Object -Last 1
    if ($null -eq $newest) {
        return ''
    }
    return "$($newest.Name)`n$(Get-FileTail -Path $newest.FullName -Length ($Length - 100))"
}

$panther = "$env:SystemRoot\System32\Sysprep\Panther"
$share = [int](($MaximumBytes - 300) / 5)
$parts = @(
    '--- setuperr.log'
    Get-FileTail -Path "$panther\setuperr.log" -Length $share
    '--- setupact.log'
    Get-FileTail -Path "$panther\setupact.log" -Length (2 * $share)
    '--- WinRM'
    Get-WinRmTail -Length $share
    '--- runs'
    Get-RunTail -Length $share
)
$text = ($parts -join "`n") -replace '(https?://[^\s?''"<>]+)\?[^\s''"<>]*', '$1?...'
$text = $text -replace '[^\x09\x0A\x20-\x7E]', '?'
$tail = $text.Substring([Math]::Max(0, $text.Length - $MaximumBytes + $Nonce.Length + 6))
Write-Output -InputObject $tail
Write-Output -InputObject $Nonce
