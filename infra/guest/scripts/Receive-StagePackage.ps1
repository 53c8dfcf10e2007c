#Requires -Version 5.1
<#
.SYNOPSIS
    Unpack the zip on standard input into C:\winvhd, which only SYSTEM and administrators can open.

.DESCRIPTION
    Arrives as -EncodedCommand, so it must be short. https://learn.microsoft.com/dotnet/api/system.io.compression.ziparchive

.NOTES
    Input: zip bytes. Only scripts, no folders.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

function Write-Line {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][System.Collections.IDictionary]$Value)
    [Console]::Out.WriteLine((ConvertTo-Json -InputObject $Value -Compress))
}
function Write-StageResult {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][System.Collections.IDictionary]$Result)
    $line = [ordered]@{ event = 'result' }
    foreach ($key in $Result.Keys) { $line[$key] = $Result[$key] }
    Write-Line -Value $line
}
function Protect-Folder {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][string]$Path)
    $null = [IO.Directory]::CreateDirectory($Path)
    $acl = New-Object -TypeName 'Security.AccessControl.DirectorySecurity'
    $acl.SetAccessRuleProtection($true, $false)
    foreach ($sid in @('S-1-5-18', 'S-1-5-32-544')) {
        $id = New-Object -TypeName 'Security.Principal.SecurityIdentifier' -ArgumentList $sid
        $rule = New-Object -TypeName 'Security.AccessControl.FileSystemAccessRule' -ArgumentList @($id, 'FullControl', 'ContainerInherit, ObjectInherit', 'None', 'Allow')
        $acl.AddAccessRule($rule)
    }
    Set-Acl -LiteralPath $Path -AclObject $acl
}
function Save-Entry {
    [CmdletBinding()]
    [OutputType([bool])]
    param([Parameter(Mandatory = $true)][IO.Compression.ZipArchiveEntry]$Entry, [Parameter(Mandatory = $true)][string]$Folder)
    if ($Entry.FullName -notmatch '^[\w-]+\.psm?1$') { throw "not a script: $($Entry.FullName)" }
    $buffer = New-Object -TypeName 'IO.MemoryStream'
    $stream = $Entry.Open()
    $stream.CopyTo($buffer)
    $stream.Dispose()
    $path = Join-Path -Path $Folder -ChildPath $Entry.FullName
    $bytes = $buffer.ToArray()
    if ([IO.File]::Exists($path) -and ([Convert]::ToBase64String([IO.File]::ReadAllBytes($path)) -ceq [Convert]::ToBase64String($bytes))) { return $false }
    [IO.File]::WriteAllBytes($path, $bytes)
    return $true
}
try {
    Add-Type -AssemblyName 'System.IO.Compression'
    $data = New-Object -TypeName 'IO.MemoryStream'
    [Console]::OpenStandardInput().CopyTo($data)
    $archive = New-Object -TypeName 'IO.Compression.ZipArchive' -ArgumentList $data
    Protect-Folder -Path 'C:\winvhd'
    $changed = $false
    foreach ($entry in $archive.Entries) { $changed = (Save-Entry -Entry $entry -Folder 'C:\winvhd') -or $changed }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
catch {
    $reason = $_.Exception.Message
    Write-Line -Value ([ordered]@{ event = 'error'; code = 'bad-package'; message = $reason })
    exit 1
}
