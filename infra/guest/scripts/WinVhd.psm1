#Requires -Version 5.1
<#
.SYNOPSIS
    What the guest scripts share: JSON in and out, native commands with exit codes, verified downloads, retry, registry values.

.DESCRIPTION
    Windows facts used here:
    - powershell.exe prints every stream but the error stream on standard output, so Invoke-Stage sends all of them to the error
      stream; standard output holds the contract's JSON lines only.
      https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_redirection
    - powershell.exe reads standard input itself as soon as a script mentions the automatic variable for pipeline input, so no script
      here does, and Read-StageInput is the only reader.
      https://github.com/PowerShell/PowerShell/blob/master/src/Microsoft.PowerShell.ConsoleHost/host/msh/ConsoleHost.cs
    - The .NET Framework allows two connections to a server unless DefaultConnectionLimit says otherwise.
      https://learn.microsoft.com/dotnet/api/system.net.servicepointmanager.defaultconnectionlimit
    - Writing to a full volume fails with ERROR_DISK_FULL (112) or ERROR_HANDLE_DISK_FULL (39).
      https://learn.microsoft.com/windows/win32/debug/system-error-codes--0-499-
    - A file that another program has open without sharing answers ERROR_SHARING_VIOLATION (32) or ERROR_LOCK_VIOLATION (33), same page.
    - A program gets one command line, which the C runtime splits again by its own rules for quotes and backslashes.
      https://learn.microsoft.com/cpp/c-language/parsing-c-command-line-arguments

.NOTES
    Windows PowerShell 5.1. Read-StageInput takes up to 2 MB: the limit of that version's ConvertFrom-Json.
#>
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

# Windows PowerShell adds a Count property to arrays, and ConvertTo-Json then writes some of them as {"value":[...],"Count":n}.
Remove-TypeData -TypeName 'System.Array' -ErrorAction SilentlyContinue

$script:Utf8 = New-Object -TypeName 'System.Text.UTF8Encoding' -ArgumentList $false
$script:ResultWritten = $false
$script:LastProgress = [datetime]::MinValue
$script:DiskFullCodes = @(-2147024784, -2147024857)
$script:LockedCodes = @(-2147024864, -2147024863)

# --- the contract: one JSON object in, JSON lines out ---

function Write-ConsoleLine {
    # Write one line as UTF-8 without BOM to standard output, or to the error stream.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][AllowEmptyString()][string]$Text,
        [switch]$ToErrorStream
    )
    $bytes = $script:Utf8.GetBytes($Text + "`n")
    $stream = [System.Console]::OpenStandardOutput()
    if ($ToErrorStream) {
        $stream = [System.Console]::OpenStandardError()
    }
    $stream.Write($bytes, 0, $bytes.Length)
    $stream.Flush()
}

function Hide-UrlQuery {
    # The text without the query of any URL in it: that is where a SAS token is.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string]$Text)
    return [regex]::Replace($Text, '(https?://[^\s?''"<>]+)\?[^\s''"<>]*', '$1?...')
}

function Write-StageLog {
    # Say something on the error stream, for whoever reads the log.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string]$Message)
    Write-ConsoleLine -Text (Hide-UrlQuery -Text $Message) -ToErrorStream
}

function Write-StageProgress {
    # Say how far the stage is, at most five times a second; the last step (Done = Total) is always said.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Message,
        [Nullable[long]]$Done = $null,
        [Nullable[long]]$Total = $null
    )
    $now = [datetime]::UtcNow
    $isLast = ($null -ne $Done) -and ($Done -eq $Total)
    if ((-not $isLast) -and (($now - $script:LastProgress).TotalMilliseconds -lt 200)) {
        return
    }
    $script:LastProgress = $now
    $line = [ordered]@{ event = 'progress'; message = (Hide-UrlQuery -Text $Message); done = $Done; total = $Total }
    Write-ConsoleLine -Text (ConvertTo-Json -InputObject $line -Compress -Depth 10)
}

function Write-StageResult {
    # Write the result: the last line of a stage that worked.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][System.Collections.IDictionary]$Result)
    $line = [ordered]@{ event = 'result' }
    foreach ($key in $Result.Keys) {
        $line[$key] = $Result[$key]
    }
    Write-ConsoleLine -Text (ConvertTo-Json -InputObject $line -Compress -Depth 10)
    $script:ResultWritten = $true
}

function Write-StageError {
    # Write the error line; the script exits with 1 after it.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Code,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string]$Message
    )
    $line = [ordered]@{ event = 'error'; code = $Code; message = (Hide-UrlQuery -Text $Message) }
    Write-ConsoleLine -Text (ConvertTo-Json -InputObject $line -Compress -Depth 10)
}

function Read-StageInput {
    # The JSON object on standard input.
    [CmdletBinding()]
    [OutputType([psobject])]
    param()
    $buffer = New-Object -TypeName 'System.IO.MemoryStream'
    [System.Console]::OpenStandardInput().CopyTo($buffer)
    # A parent on the .NET Framework sends a BOM first when its console is set to UTF-8.
    $text = $script:Utf8.GetString($buffer.ToArray()).TrimStart([char]0xFEFF)
    if ([string]::IsNullOrWhiteSpace($text)) {
        throw (New-StageFailure -Code 'bad-input' -Message 'standard input held no JSON object')
    }
    return ConvertFrom-Json -InputObject $text
}

function Read-StageHeader {
    # The JSON object on the first line of a stream, whose rest is left to the script.
    [CmdletBinding()]
    [OutputType([psobject])]
    param([Parameter(Mandatory = $true)][System.IO.Stream]$Stream)
    $buffer = New-Object -TypeName 'System.IO.MemoryStream'
    for ($byte = $Stream.ReadByte(); ($byte -ge 0) -and ($byte -ne 10); $byte = $Stream.ReadByte()) {
        $buffer.WriteByte([byte]$byte)
    }
    $text = $script:Utf8.GetString($buffer.ToArray()).TrimStart([char]0xFEFF)
    return ConvertFrom-Json -InputObject $text
}

function New-StageFailure {
    # An exception that ends the stage with this error code.
    [CmdletBinding()]
    [OutputType([System.Exception])]
    param(
        [Parameter(Mandatory = $true)][string]$Code,
        [Parameter(Mandatory = $true)][string]$Message
    )
    $failure = New-Object -TypeName 'System.InvalidOperationException' -ArgumentList $Message
    $failure.Data['StageCode'] = $Code
    return $failure
}

function Get-FailureCode {
    # The error code of an exception: its own, or what its Windows error means.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][System.Exception]$Exception)
    $current = $Exception
    while ($null -ne $current) {
        if ($current.Data.Contains('StageCode')) {
            return [string]$current.Data['StageCode']
        }
        if ($script:DiskFullCodes -contains $current.HResult) {
            return 'disk-full'
        }
        if ($script:LockedCodes -contains $current.HResult) {
            return 'file-locked'
        }
        if ($current -is [System.UnauthorizedAccessException]) {
            return 'access-denied'
        }
        $current = $current.InnerException
    }
    return 'script-failed'
}

function Invoke-Stage {
    # Run a stage's body; exit with 0 after its result, with 1 after an error line.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][scriptblock]$Body)
    try {
        & $Body *>&1 | ForEach-Object -Process { Write-StageLog -Message ([string]$_) }
        if (-not $script:ResultWritten) {
            throw (New-StageFailure -Code 'no-result' -Message 'the script ended without a result')
        }
    }
    catch {
        $message = $_.Exception.GetBaseException().Message
        Write-StageLog -Message ([string]$_.ScriptStackTrace)
        Write-StageError -Code (Get-FailureCode -Exception $_.Exception) -Message $message
        exit 1
    }
    exit 0
}

# --- native commands ---

function ConvertTo-NativeArgument {
    # One argument as the C runtime reads it back: quoted when it must be.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string]$Value)
    if (($Value.Length -gt 0) -and ($Value -notmatch '[\s"]')) {
        return $Value
    }
    # Backslashes count only before a quote: double them there, and before the quote that closes the argument.
    $escaped = [regex]::Replace($Value, '(\\*)"', '$1$1\"')
    $escaped = [regex]::Replace($escaped, '(\\+)$', '$1$1')
    return '"' + $escaped + '"'
}

function Start-NativeCommand {
    # Start a program without a window; its output goes to the given streams, or is kept for Complete-NativeCommand.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param(
        [Parameter(Mandatory = $true)][string]$FilePath,
        [string[]]$ArgumentList = @(),
        [byte[]]$InputBytes = @(),
        [hashtable]$Environment = @{},
        [System.IO.Stream]$OutputStream = $null,
        [System.IO.Stream]$ErrorStream = $null
    )
    $path = $FilePath
    if (-not [System.IO.Path]::IsPathRooted($path)) {
        # Never from the search path: a bare name means Windows' own program.
        $path = Join-Path -Path ([System.Environment]::SystemDirectory) -ChildPath $FilePath
    }
    if (-not [System.IO.File]::Exists($path)) {
        throw (New-StageFailure -Code 'command-missing' -Message "$path is not there")
    }
    $start = New-Object -TypeName 'System.Diagnostics.ProcessStartInfo'
    $start.FileName = $path
    $start.Arguments = @($ArgumentList | ForEach-Object -Process { ConvertTo-NativeArgument -Value $_ }) -join ' '
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $start.StandardOutputEncoding = $script:Utf8
    $start.StandardErrorEncoding = $script:Utf8
    foreach ($name in $Environment.Keys) {
        $start.EnvironmentVariables[$name] = [string]$Environment[$name]
    }
    $process = [System.Diagnostics.Process]::Start($start)
    # Both streams are read from the start: a program whose pipe is full waits for ever.
    if ($null -ne $OutputStream) {
        $reading = $process.StandardOutput.BaseStream.CopyToAsync($OutputStream)
    }
    else {
        $reading = $process.StandardOutput.ReadToEndAsync()
    }
    if ($null -ne $ErrorStream) {
        $readingErrors = $process.StandardError.BaseStream.CopyToAsync($ErrorStream)
    }
    else {
        $readingErrors = $process.StandardError.ReadToEndAsync()
    }
    if ($InputBytes.Length -gt 0) {
        $process.StandardInput.BaseStream.Write($InputBytes, 0, $InputBytes.Length)
    }
    $process.StandardInput.Close()
    return @{ Process = $process; Output = $reading; ErrorOutput = $readingErrors; Name = [System.IO.Path]::GetFileName($path) }
}

function Stop-NativeCommand {
    # End a started program and everything it started.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$Command)
    if (-not $Command.Process.HasExited) {
        $null = Invoke-NativeCommand -FilePath 'taskkill.exe' -ArgumentList @('/PID', [string]$Command.Process.Id, '/T', '/F') -AllowedExitCode @(0, 128, 255)
    }
}

function Complete-NativeCommand {
    # Wait for a started program; ExitCode and text. Another exit code than the allowed ones, or no end in time, ends the stage.
    [CmdletBinding()]
    [OutputType([psobject])]
    param(
        [Parameter(Mandatory = $true)][hashtable]$Command,
        [int[]]$AllowedExitCode = @(0),
        [switch]$AnyExitCode,
        [int]$TimeoutSecond = 3600
    )
    $process = $Command.Process
    try {
        if (-not $process.WaitForExit($TimeoutSecond * 1000)) {
            Stop-NativeCommand -Command $Command
            throw (New-StageFailure -Code 'timeout' -Message "$($Command.Name) did not end within $TimeoutSecond s")
        }
        # A grandchild may keep the pipe open; its output is not waited for.
        $null = [System.Threading.Tasks.Task]::WaitAll([System.Threading.Tasks.Task[]]@($Command.Output, $Command.ErrorOutput), 30000)
        $outcome = [pscustomobject]@{ ExitCode = $process.ExitCode; Output = ''; ErrorOutput = '' }
        if (($Command.Output -is [System.Threading.Tasks.Task[string]]) -and $Command.Output.IsCompleted) {
            $outcome.Output = $Command.Output.Result
        }
        if (($Command.ErrorOutput -is [System.Threading.Tasks.Task[string]]) -and $Command.ErrorOutput.IsCompleted) {
            $outcome.ErrorOutput = $Command.ErrorOutput.Result
        }
    }
    finally {
        $process.Dispose()
    }
    if ((-not $AnyExitCode) -and ($AllowedExitCode -notcontains $outcome.ExitCode)) {
        $text = ($outcome.ErrorOutput + "`n" + $outcome.Output).Trim()
        $tail = $text.Substring([Math]::Max(0, $text.Length - 500))
        throw (New-StageFailure -Code 'command-failed' -Message "$($Command.Name) ended with exit code $($outcome.ExitCode): $tail")
    }
    return $outcome
}

function Invoke-NativeCommand {
    # Run a program to its end; its chatter goes to the error stream, its exit code must be an allowed one.
    [CmdletBinding()]
    [OutputType([psobject])]
    param(
        [Parameter(Mandatory = $true)][string]$FilePath,
        [string[]]$ArgumentList = @(),
        [int[]]$AllowedExitCode = @(0),
        [switch]$AnyExitCode,
        [int]$TimeoutSecond = 3600
    )
    $command = Start-NativeCommand -FilePath $FilePath -ArgumentList $ArgumentList
    $outcome = Complete-NativeCommand -Command $command -AllowedExitCode $AllowedExitCode -AnyExitCode:$AnyExitCode -TimeoutSecond $TimeoutSecond
    foreach ($text in @($outcome.Output, $outcome.ErrorOutput)) {
        $chatter = $text.Trim()
        if ($chatter.Length -gt 0) {
            Write-StageLog -Message $chatter
        }
    }
    return $outcome
}

function Invoke-WithRetry {
    # Run an action up to Attempts times, with growing pauses; a full disk is never tried again.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][scriptblock]$Action,
        [int]$Attempts = 3,
        [int]$PauseSecond = 5
    )
    for ($attempt = 1; $true; $attempt++) {
        try {
            return & $Action
        }
        catch {
            if (($attempt -ge $Attempts) -or ((Get-FailureCode -Exception $_.Exception) -eq 'disk-full')) {
                throw
            }
            Write-StageLog -Message "attempt $attempt of ${Attempts}: $($_.Exception.Message)"
            Start-Sleep -Seconds ($PauseSecond * $attempt)
        }
    }
}

# --- files ---

function Get-FileSha256 {
    # SHA-256 of a file in lower-case hex.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][string]$Path)
    return (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash.ToLowerInvariant()
}

function Test-VerifiedFile {
    # True when the file is there with this length and hash.
    [CmdletBinding()]
    [OutputType([bool])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][long]$Length,
        [Parameter(Mandatory = $true)][string]$Sha256
    )
    $file = New-Object -TypeName 'System.IO.FileInfo' -ArgumentList $Path
    return $file.Exists -and ($file.Length -eq $Length) -and ((Get-FileSha256 -Path $Path) -eq $Sha256)
}

function Set-TextContent {
    # Give a file this text (UTF-8 without BOM); true when it had another one.
    [CmdletBinding()]
    [OutputType([bool])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string]$Text
    )
    $bytes = $script:Utf8.GetBytes($Text)
    if ([System.IO.File]::Exists($Path)) {
        $current = [System.IO.File]::ReadAllBytes($Path)
        if ([System.Convert]::ToBase64String($current) -ceq [System.Convert]::ToBase64String($bytes)) {
            return $false
        }
    }
    $null = [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($Path))
    [System.IO.File]::WriteAllBytes($Path, $bytes)
    return $true
}

function Expand-PackageArchive {
    # Unpack a .zip, .tgz or .tar.gz into a folder.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][string]$Destination
    )
    $null = [System.IO.Directory]::CreateDirectory($Destination)
    if ([System.IO.Path]::GetExtension($Path) -eq '.zip') {
        Expand-Archive -LiteralPath $Path -DestinationPath $Destination -Force
    }
    else {
        # tar.exe is part of Windows since build 17063.
        $null = Invoke-NativeCommand -FilePath 'tar.exe' -ArgumentList @('-x', '-f', $Path, '-C', $Destination)
    }
}

function Get-FreeSpace {
    # Free bytes on C:.
    [CmdletBinding()]
    [OutputType([long])]
    param()
    return (New-Object -TypeName 'System.IO.DriveInfo' -ArgumentList 'C').AvailableFreeSpace
}

# --- verified downloads ---

function New-DownloadClient {
    # An HTTP client for this many transfers at a time, TLS 1.2 at least.
    [CmdletBinding()]
    [OutputType([System.IDisposable])]
    param([Parameter(Mandatory = $true)][int]$Parallel)
    Add-Type -AssemblyName 'System.Net.Http'
    [System.Net.ServicePointManager]::SecurityProtocol = [System.Net.ServicePointManager]::SecurityProtocol -bor [System.Net.SecurityProtocolType]::Tls12
    [System.Net.ServicePointManager]::DefaultConnectionLimit = [Math]::Max(16, $Parallel)
    $client = New-Object -TypeName 'System.Net.Http.HttpClient'
    # A large file may take long; Step-Download gives up when nothing comes any more.
    $client.Timeout = [System.Threading.Timeout]::InfiniteTimeSpan
    return $client
}

function Start-Download {
    # Ask for the rest of the file; what an earlier attempt brought stays.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][System.IDisposable]$Client,
        [Parameter(Mandatory = $true)][hashtable]$Job
    )
    $Job.Attempt++
    $Job.Stream = New-Object -TypeName 'System.IO.FileStream' -ArgumentList @($Job.Part, [System.IO.FileMode]::OpenOrCreate, [System.IO.FileAccess]::Write)
    if ($Job.Stream.Length -ge $Job.File.size_bytes) {
        $Job.Stream.SetLength(0)
    }
    $null = $Job.Stream.Seek(0, [System.IO.SeekOrigin]::End)
    $request = New-Object -TypeName 'System.Net.Http.HttpRequestMessage' -ArgumentList @([System.Net.Http.HttpMethod]::Get, [uri]$Job.File.url)
    if ($Job.Stream.Position -gt 0) {
        $null = $request.Headers.TryAddWithoutValidation('Range', "bytes=$($Job.Stream.Position)-")
    }
    $Job.Seen = $Job.Stream.Position
    $Job.SeenAt = [datetime]::UtcNow
    $Job.Copy = $null
    $Job.Response = $Client.SendAsync($request, [System.Net.Http.HttpCompletionOption]::ResponseHeadersRead)
}

function Stop-Download {
    # Let go of connection and file.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$Job)
    if (($null -ne $Job.Response) -and ($Job.Response.Status -eq [System.Threading.Tasks.TaskStatus]::RanToCompletion)) {
        $Job.Response.Result.Dispose()
    }
    if ($null -ne $Job.Stream) {
        $Job.Stream.Dispose()
    }
    $Job.Response = $null
    $Job.Copy = $null
    $Job.Stream = $null
}

function Read-DownloadHeader {
    # Begin to copy the body; a refusal that a second try can not change ends the stage.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$Job)
    $response = $Job.Response.GetAwaiter().GetResult()
    $status = [int]$response.StatusCode
    if (($status -ge 400) -and ($status -lt 500) -and (@(408, 416, 429) -notcontains $status)) {
        throw (New-StageFailure -Code 'download-refused' -Message "$($Job.Url): HTTP $status")
    }
    if ($status -ne 206) {
        # The whole file comes, or nothing usable: start from its first byte.
        $Job.Stream.SetLength(0)
    }
    if ($status -ge 300) {
        throw (New-StageFailure -Code 'download-failed' -Message "$($Job.Url): HTTP $status")
    }
    $Job.Copy = $response.Content.CopyToAsync($Job.Stream)
}

function Complete-Download {
    # Compare length and hash, then give the file its name; a wrong one is removed.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$Job)
    $null = $Job.Copy.GetAwaiter().GetResult()
    Stop-Download -Job $Job
    if (-not (Test-VerifiedFile -Path $Job.Part -Length $Job.File.size_bytes -Sha256 $Job.File.sha256)) {
        $actual = Get-FileSha256 -Path $Job.Part
        [System.IO.File]::Delete($Job.Part)
        throw (New-StageFailure -Code 'hash-mismatch' -Message "$($Job.Url): expected sha256 $($Job.File.sha256), got $actual")
    }
    [System.IO.File]::Delete($Job.File.path)
    [System.IO.File]::Move($Job.Part, $Job.File.path)
    $Job.Done = $true
}

function Step-Download {
    # Carry a download on as far as it can go without waiting; after a failure it is tried again later, or ends the stage.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][hashtable]$Job,
        [Parameter(Mandatory = $true)][int]$Attempts
    )
    try {
        if (($null -eq $Job.Copy) -and $Job.Response.IsCompleted) {
            Read-DownloadHeader -Job $Job
        }
        if (($null -ne $Job.Copy) -and $Job.Copy.IsCompleted) {
            Complete-Download -Job $Job
            return
        }
        if ($Job.Stream.Position -ne $Job.Seen) {
            $Job.Seen = $Job.Stream.Position
            $Job.SeenAt = [datetime]::UtcNow
        }
        elseif (([datetime]::UtcNow - $Job.SeenAt).TotalSeconds -gt 60) {
            throw (New-StageFailure -Code 'download-failed' -Message "$($Job.Url): nothing came for 60 s")
        }
    }
    catch {
        $code = Get-FailureCode -Exception $_.Exception
        $reason = $_.Exception.GetBaseException().Message
        Stop-Download -Job $Job
        if ((@('disk-full', 'download-refused', 'access-denied', 'file-locked') -contains $code) -or ($Job.Attempt -ge $Attempts)) {
            if ($code -eq 'script-failed') {
                # What HttpClient throws: no name, no connection, a connection that broke.
                throw (New-StageFailure -Code 'download-failed' -Message "$($Job.Url): $reason")
            }
            throw
        }
        Write-StageLog -Message "attempt $($Job.Attempt) of ${Attempts}: $reason"
        $Job.NotBefore = [datetime]::UtcNow.AddSeconds([Math]::Min(30, [Math]::Pow(2, $Job.Attempt)))
    }
}

function Save-VerifiedFile {
    # Download files (url, path, sha256, size_bytes), several at a time. One record each: File, Downloaded, Attempts.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param(
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$File,
        [int]$Parallel = 4,
        [int]$Attempts = 3
    )
    $jobs = @(
        foreach ($one in $File) {
            $null = [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($one.path))
            $isThere = Test-VerifiedFile -Path $one.path -Length $one.size_bytes -Sha256 $one.sha256
            @{
                File = $one; Url = (Hide-UrlQuery -Text $one.url); Part = "$($one.path).part"; Done = $isThere; Attempt = 0
                Response = $null; Copy = $null; Stream = $null; Seen = 0L; SeenAt = [datetime]::UtcNow; NotBefore = [datetime]::MinValue
            }
        }
    )
    $total = [long]0
    foreach ($one in $File) {
        $total += $one.size_bytes
    }
    $client = New-DownloadClient -Parallel $Parallel
    try {
        while ($true) {
            $open = @($jobs | Where-Object -FilterScript { -not $_.Done })
            if ($open.Count -eq 0) {
                break
            }
            $free = $Parallel - @($open | Where-Object -FilterScript { $null -ne $_.Response }).Count
            $now = [datetime]::UtcNow
            $startable = @($open | Where-Object -FilterScript { ($null -eq $_.Response) -and ($_.NotBefore -le $now) })
            foreach ($job in @($startable | Select-Object -First ([Math]::Max(0, $free)))) {
                Start-Download -Client $client -Job $job
            }
            foreach ($job in @($open | Where-Object -FilterScript { $null -ne $_.Response })) {
                Step-Download -Job $job -Attempts $Attempts
            }
            Write-DownloadProgress -Jobs $jobs -Total $total
            Start-Sleep -Milliseconds 50
        }
    }
    finally {
        foreach ($job in @($jobs | Where-Object -FilterScript { -not $_.Done })) {
            Stop-Download -Job $job
            [System.IO.File]::Delete($job.Part)
        }
        $client.Dispose()
    }
    return @($jobs | ForEach-Object -Process { @{ File = $_.File; Downloaded = ($_.Attempt -gt 0); Attempts = $_.Attempt } })
}

function Write-DownloadProgress {
    # Bytes so far of all bytes.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][object[]]$Jobs,
        [Parameter(Mandatory = $true)][long]$Total
    )
    $bytes = [long]0
    $done = 0
    foreach ($job in $Jobs) {
        if ($job.Done) {
            $bytes += $job.File.size_bytes
            $done++
        }
        elseif ($null -ne $job.Stream) {
            $bytes += $job.Stream.Position
        }
    }
    Write-StageProgress -Message "files: $done of $($Jobs.Count)" -Done $bytes -Total $Total
}

# --- Windows ---

function Get-OsVersion {
    # Build and UBR as numbers: versions compare as numbers, never as text.
    [CmdletBinding()]
    [OutputType([psobject])]
    param()
    $values = Get-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    return [pscustomobject]@{ Build = [int]$values.CurrentBuildNumber; Ubr = [int]$values.UBR }
}

function Get-BootTime {
    # When Windows started, ISO 8601 in UTC, to the second.
    [CmdletBinding()]
    [OutputType([string])]
    param()
    $system = Get-CimInstance -ClassName 'Win32_OperatingSystem' -Property 'LastBootUpTime'
    return $system.LastBootUpTime.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ', [cultureinfo]::InvariantCulture)
}

function Test-PendingReboot {
    # True when servicing or Windows Update waits for a restart.
    [CmdletBinding()]
    [OutputType([bool])]
    param()
    # PendingFileRenameOperations is left out: antivirus and agents leave entries there all the time.
    foreach ($key in @('Component Based Servicing\RebootPending', 'WindowsUpdate\Auto Update\RebootRequired')) {
        if (Test-Path -LiteralPath "HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\$key") {
            return $true
        }
    }
    return $false
}

function Get-ServicingPackage {
    # Identities of the packages that servicing keeps in one of these states: 96 waits for a restart, 112 is installed.
    [CmdletBinding()]
    [OutputType([string[]])]
    param([Parameter(Mandatory = $true)][int[]]$State)
    $packages = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages')
    try {
        foreach ($name in $packages.GetSubKeyNames()) {
            $package = $packages.OpenSubKey($name)
            if ($State -contains $package.GetValue('CurrentState', 0)) {
                $name
            }
            $package.Dispose()
        }
    }
    finally {
        $packages.Dispose()
    }
}

function Get-ExcludedUdpPort {
    # Ports that an administrator keeps from dynamic use, sorted; netsh marks their ranges with an asterisk.
    [CmdletBinding()]
    [OutputType([int[]])]
    param()
    $outcome = Invoke-NativeCommand -FilePath 'netsh.exe' -ArgumentList @('interface', 'ipv4', 'show', 'excludedportrange', 'protocol=udp')
    $ports = @(
        foreach ($line in ($outcome.Output -split "`r?`n")) {
            if ($line -match '^\s*(\d+)\s+(\d+)\s+\*\s*$') {
                for ($port = [int]$Matches[1]; $port -le [int]$Matches[2]; $port++) {
                    $port
                }
            }
        }
    )
    return @($ports | Sort-Object -Unique)
}

function Get-StoredImage {
    # Name, media type and digest of the images in containerd's namespace k8s.io.
    [CmdletBinding()]
    [OutputType([psobject])]
    param([Parameter(Mandatory = $true)][string]$CtrPath)
    $command = Start-NativeCommand -FilePath $CtrPath -ArgumentList @('-n', 'k8s.io', 'images', 'list')
    $outcome = Complete-NativeCommand -Command $command -TimeoutSecond 120
    foreach ($line in ($outcome.Output -split "`r?`n")) {
        if ($line -match '^(\S+)\s+(\S+)\s+(sha256:[0-9a-f]{64})\s') {
            [pscustomobject]@{ Name = $Matches[1]; MediaType = $Matches[2]; Digest = $Matches[3] }
        }
    }
}

function Get-RegistryValue {
    # A value below HKLM as it is stored, or nothing.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][string]$Name
    )
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey(($Path -replace '^HKLM:\\', ''))
    if ($null -eq $key) {
        return $null
    }
    try {
        return $key.GetValue($Name, $null, [Microsoft.Win32.RegistryValueOptions]::DoNotExpandEnvironmentNames)
    }
    finally {
        $key.Dispose()
    }
}

function Set-RegistryValue {
    # Give a value below HKLM this type and data; true when it had others.
    [CmdletBinding()]
    [OutputType([bool])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][string]$Name,
        [Parameter(Mandatory = $true)][Microsoft.Win32.RegistryValueKind]$Kind,
        [Parameter(Mandatory = $true)][AllowEmptyString()][AllowEmptyCollection()][object]$Value
    )
    # Not the registry provider: it takes a slash in a key's name ("AES 128/128") for a separator.
    $key = [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey(($Path -replace '^HKLM:\\', ''))
    try {
        $current = $key.GetValue($Name, $null, [Microsoft.Win32.RegistryValueOptions]::DoNotExpandEnvironmentNames)
        if (($null -ne $current) -and ($key.GetValueKind($Name) -eq $Kind) -and ((@($current) -join "`0") -ceq (@($Value) -join "`0"))) {
            return $false
        }
        $key.SetValue($Name, $Value, $Kind)
        return $true
    }
    finally {
        $key.Dispose()
    }
}

function Get-RunPath {
    # The file of an elevated run, for example its exit code.
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9-]{1,80}$')][string]$RunId,
        [Parameter(Mandatory = $true)][ValidateSet('out', 'err', 'exit', 'claim', 'wait', 'read', 'pid')][string]$Kind
    )
    return Join-Path -Path $PSScriptRoot -ChildPath "runs\$RunId.$Kind"
}
