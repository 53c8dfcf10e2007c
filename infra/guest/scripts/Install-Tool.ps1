#Requires -Version 5.1
<#
.SYNOPSIS
    Unpack archives that are on the guest into their folders.

.DESCRIPTION
    tar.exe (bsdtar, part of Windows since build 17063) unpacks .tgz and .tar.gz, Expand-Archive .zip. An archive is unpacked into a folder of its
    own first, and files that differ are moved: a second run changes nothing.
    https://learn.microsoft.com/virtualization/community/team-blog/2017/20171219-tar-and-curl-come-to-windows

.NOTES
    Input: tools (archive, destination, sha256). The archive must have its hash.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Expand-Tool {
    # Unpack into an empty folder.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Archive,
        [Parameter(Mandatory = $true)][string]$Folder
    )
    if (Test-Path -LiteralPath $Folder) {
        Remove-Item -LiteralPath $Folder -Recurse -Force
    }
    Expand-PackageArchive -Path $Archive -Destination $Folder
}

function Move-ChangedFile {
    # Move files that differ to their place. One record a file: its full path, and whether it was changed.
    [CmdletBinding()]
    [OutputType([psobject])]
    param(
        [Parameter(Mandatory = $true)][string]$Source,
        [Parameter(Mandatory = $true)][string]$Destination
    )
    foreach ($file in @(Get-ChildItem -LiteralPath $Source -Recurse -File -Force)) {
        $relative = $file.FullName.Substring($Source.Length + 1)
        $target = Join-Path -Path $Destination -ChildPath $relative
        $isSame = Test-VerifiedFile -Path $target -Length $file.Length -Sha256 (Get-FileSha256 -Path $file.FullName)
        if (-not $isSame) {
            $null = [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($target))
            Move-Item -LiteralPath $file.FullName -Destination $target -Force
        }
        [pscustomobject]@{ Path = $target; Changed = -not $isSame }
    }
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $folder = Join-Path -Path $PSScriptRoot -ChildPath 'unpacked'
    $records = @(
        foreach ($tool in @($stageInput.tools)) {
            if ((Get-FileSha256 -Path $tool.archive) -ne $tool.sha256) {
                throw (New-StageFailure -Code 'hash-mismatch' -Message "$($tool.archive) does not have sha256 $($tool.sha256)")
            }
            Expand-Tool -Archive $tool.archive -Folder $folder
            Move-ChangedFile -Source $folder -Destination ([System.IO.Path]::GetFullPath($tool.destination).TrimEnd('\'))
            Remove-Item -LiteralPath $folder -Recurse -Force
        }
    )
    $changed = @($records | Where-Object -FilterScript { $_.Changed }).Count -gt 0
    $paths = @($records | ForEach-Object -Process { $_.Path } | Sort-Object -Unique)
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false; files = $paths })
}
