#Requires -Version 5.1
<#
.SYNOPSIS
    Download files into the caches, verified.

.DESCRIPTION
    Each file is downloaded under a temporary name, compared by length and sha256, and only then renamed: what has its final name is whole.
    A full disk (error 112) ends the stage at once.
    https://learn.microsoft.com/dotnet/api/system.net.http.httpclient

.NOTES
    Input: files (url, path, sha256, size_bytes), parallel, attempts. URLs hold SAS tokens and are never written anywhere with their query.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $files = @(
        foreach ($file in @($stageInput.files)) {
            [pscustomobject]@{ url = $file.url; path = $file.path; sha256 = $file.sha256; size_bytes = [long]$file.size_bytes }
        }
    )
    $outcomes = @(Save-VerifiedFile -File $files -Parallel $stageInput.parallel -Attempts $stageInput.attempts)
    $downloaded = [long]0
    foreach ($outcome in $outcomes) {
        if ($outcome.Downloaded) {
            $downloaded += $outcome.File.size_bytes
        }
    }
    $saved = @($files | ForEach-Object -Process { [ordered]@{ path = $_.path; sha256 = $_.sha256; size_bytes = $_.size_bytes } })
    Write-StageResult -Result ([ordered]@{ changed = ($downloaded -gt 0); reboot_required = $false; files = $saved; downloaded_bytes = $downloaded })
}
