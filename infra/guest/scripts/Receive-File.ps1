#Requires -Version 5.1
<#
.SYNOPSIS
    Take a file, or the rest of one, from standard input; give it its name once its hash is right.

.DESCRIPTION
    For a guest that can not reach blob storage. Standard input holds one line of JSON and after it, up to its end, the file's bytes from offset
    on as raw deflate (RFC 1951). What has come in so far is in <path>.<sha256>.part: a transfer that broke off goes on from its length, and
    another content begins another file. A negative offset only asks how much is there.
    https://learn.microsoft.com/dotnet/api/system.io.compression.deflatestream

.NOTES
    Input: path, sha256, size_bytes, offset. A file that is there already, verified, is left alone.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Write-FilePart {
    # Inflate a stream to its end into a file, from this offset on.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][System.IO.Stream]$Source,
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][long]$Offset
    )
    $null = [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($Path))
    # The process of a transfer that broke off may need a moment to let go of the file.
    $file = Invoke-WithRetry -Attempts 5 -PauseSecond 1 -Action {
        New-Object -TypeName 'System.IO.FileStream' -ArgumentList @($Path, [System.IO.FileMode]::OpenOrCreate, [System.IO.FileAccess]::Write)
    }
    try {
        if ($file.Length -lt $Offset) {
            throw (New-StageFailure -Code 'bad-offset' -Message "$Path has $($file.Length) bytes, the transfer goes on at $Offset")
        }
        $file.SetLength($Offset)
        $null = $file.Seek($Offset, [System.IO.SeekOrigin]::Begin)
        $inflater = New-Object -TypeName 'System.IO.Compression.DeflateStream' -ArgumentList @($Source, [System.IO.Compression.CompressionMode]::Decompress)
        $inflater.CopyTo($file)
    }
    finally {
        $file.Dispose()
    }
}

function Get-FileLength {
    # Length of a file, 0 when there is none.
    [CmdletBinding()]
    [OutputType([long])]
    param([Parameter(Mandatory = $true)][string]$Path)
    if ([System.IO.File]::Exists($Path)) {
        return (New-Object -TypeName 'System.IO.FileInfo' -ArgumentList $Path).Length
    }
    return [long]0
}

Invoke-Stage -Body {
    $stream = [System.Console]::OpenStandardInput()
    $stageInput = Read-StageHeader -Stream $stream
    $path = [string]$stageInput.path
    $sha256 = [string]$stageInput.sha256
    $size = [long]$stageInput.size_bytes
    $offset = [long]$stageInput.offset
    $part = "$path.$($sha256.Substring(0, 16)).part"
    $changed = $false
    $complete = Test-VerifiedFile -Path $path -Length $size -Sha256 $sha256
    $received = $size
    if (-not $complete) {
        if ($offset -ge 0) {
            Write-FilePart -Source $stream -Path $part -Offset $offset
        }
        $received = Get-FileLength -Path $part
        if (($offset -ge 0) -and ($received -ge $size)) {
            if (-not (Test-VerifiedFile -Path $part -Length $size -Sha256 $sha256)) {
                [System.IO.File]::Delete($part)
                throw (New-StageFailure -Code 'hash-mismatch' -Message "${path}: what came is not the file with sha256 $sha256")
            }
            [System.IO.File]::Delete($path)
            [System.IO.File]::Move($part, $path)
            $complete = $true
            $changed = $true
        }
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false; complete = $complete; received_bytes = $received })
}
