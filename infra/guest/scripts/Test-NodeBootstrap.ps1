#Requires -Version 5.1
<#
.SYNOPSIS
    Do what a node does first: find each Kubernetes version's files in the cache, or download them, and unpack.

.DESCRIPTION
    The node bootstrap looks a file up by its base name anywhere below the cache, and downloads it when it is not there; a cached file with
    another hash is no use to it. Archives are unpacked with tar.exe, which Windows has since build 17063, or Expand-Archive.
    https://github.com/Azure/AgentBaker/tree/master/staging/cse/windows

.NOTES
    Input: versions (kubernetes_version, files: name, url, sha256, size_bytes), cache_root, work_folder. What fails is told for each file; the
    test decides. `unpacked_files` is 0 for a file that is no archive.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Get-CacheIndex {
    # Paths by base name of everything below the cache.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param([Parameter(Mandatory = $true)][string]$Root)
    $index = @{}
    foreach ($file in @(Get-ChildItem -LiteralPath $Root -Recurse -File -ErrorAction SilentlyContinue)) {
        if (-not $index.ContainsKey($file.Name)) {
            $index[$file.Name] = New-Object -TypeName 'System.Collections.Generic.List[string]'
        }
        $index[$file.Name].Add($file.FullName)
    }
    return $index
}

function Find-CachedFile {
    # The path of a cached file with this name and hash, empty when there is none.
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)][hashtable]$Index,
        [Parameter(Mandatory = $true)][psobject]$File
    )
    if ($Index.ContainsKey($File.name)) {
        foreach ($path in $Index[$File.name]) {
            if ((Get-FileSha256 -Path $path) -eq $File.sha256) {
                return $path
            }
        }
    }
    return ''
}

function Expand-BootstrapFile {
    # Unpack an archive; the number of files in it.
    [CmdletBinding()]
    [OutputType([int])]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][string]$Folder
    )
    if ($Path -notmatch '\.(zip|tgz|tar\.gz)$') {
        return 0
    }
    Expand-PackageArchive -Path $Path -Destination $Folder
    $count = @(Get-ChildItem -LiteralPath $Folder -Recurse -File -Force).Count
    if ($count -eq 0) {
        throw (New-StageFailure -Code 'empty-archive' -Message "$Path holds no file")
    }
    return $count
}

function Get-BootstrapFile {
    # One file of a version: from the cache, or downloaded; verified and unpacked.
    [CmdletBinding()]
    [OutputType([System.Collections.Specialized.OrderedDictionary])]
    param(
        [Parameter(Mandatory = $true)][hashtable]$Index,
        [Parameter(Mandatory = $true)][psobject]$File,
        [Parameter(Mandatory = $true)][string]$Version,
        [Parameter(Mandatory = $true)][string]$WorkFolder
    )
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $outcome = [ordered]@{ kubernetes_version = $Version; name = [string]$File.name; source = 'missing'; verified = $false; unpacked_files = 0; seconds = [double]0; error = '' }
    try {
        # The name alone: a path in it must not lead out of the folder.
        $name = [System.IO.Path]::GetFileName($File.name)
        $folder = Join-Path -Path (Join-Path -Path $WorkFolder -ChildPath $Version) -ChildPath $name
        $path = Find-CachedFile -Index $Index -File $File
        $outcome.source = 'cache'
        if (-not $path) {
            $outcome.source = 'missing'
            $path = Join-Path -Path $folder -ChildPath "download\$name"
            $download = [pscustomobject]@{ url = $File.url; path = $path; sha256 = $File.sha256; size_bytes = [long]$File.size_bytes }
            $null = Save-VerifiedFile -File @($download) -Attempts 2
            $outcome.source = 'download'
        }
        $outcome.verified = $true
        $outcome.unpacked_files = Expand-BootstrapFile -Path $path -Folder (Join-Path -Path $folder -ChildPath 'unpacked')
    }
    catch {
        $reason = $_.Exception.GetBaseException().Message
        $outcome.error = Hide-UrlQuery -Text $reason
    }
    $outcome.seconds = [Math]::Round($clock.Elapsed.TotalSeconds, 3)
    return $outcome
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $versions = @($stageInput.versions)
    $workFolder = [string]$stageInput.work_folder
    $index = Get-CacheIndex -Root $stageInput.cache_root
    if (Test-Path -LiteralPath $workFolder) {
        Remove-Item -LiteralPath $workFolder -Recurse -Force
    }
    $done = 0
    $outcomes = @(
        foreach ($version in $versions) {
            Write-StageProgress -Message "Kubernetes $($version.kubernetes_version)" -Done $done -Total $versions.Count
            foreach ($file in @($version.files)) {
                Get-BootstrapFile -Index $index -File $file -Version $version.kubernetes_version -WorkFolder $workFolder
            }
            $done++
        }
    )
    $downloads = @($outcomes | Where-Object -FilterScript { $_.source -eq 'download' }).Count
    Write-StageResult -Result ([ordered]@{ changed = $true; reboot_required = $false; files = $outcomes; downloads = $downloads })
}
