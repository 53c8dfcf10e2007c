#Requires -Version 5.1
<#
.SYNOPSIS
    Remove what a build leaves that nobody needs on the image.

.DESCRIPTION
    Run Command leaves its scripts and status in C:\Packages\Plugins; an image with something there is not clean. Downloaded updates can go once
    wuauserv is stopped; it is started on demand. SSH host keys must differ from node to node: sshd makes new ones at its next start. Event
    logs hold the build's names.
    https://learn.microsoft.com/windows-server/administration/openssh/openssh-server-configuration

.NOTES
    Input: nothing. What is in C:\Packages\Plugins and can not be removed fails the stage; what is locked elsewhere stays (logs and
    temporary files of running services).
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Contents = @(
    "$env:SystemRoot\Temp"
    "$env:SystemRoot\SoftwareDistribution\Download"
    "$env:SystemRoot\Logs\CBS"
    "$env:SystemRoot\Logs\DISM"
    "$env:ProgramData\Microsoft\Windows\WER\ReportQueue"
    "$env:ProgramData\Microsoft\Windows\WER\ReportArchive"
    'C:\Users\Public\Downloads'
)
$script:Plugins = 'C:\Packages\Plugins'

function Clear-Folder {
    # Remove what is in a folder; the paths of what went. What is in use stays, and is said.
    [CmdletBinding()]
    [OutputType([string[]])]
    param([Parameter(Mandatory = $true)][string]$Path)
    foreach ($item in @(Get-ChildItem -LiteralPath $Path -Force -ErrorAction SilentlyContinue)) {
        try {
            Remove-Item -LiteralPath $item.FullName -Recurse -Force
            $item.FullName
        }
        catch {
            Write-StageLog -Message "$($item.FullName) stays: $($_.Exception.Message)"
        }
    }
}

function Clear-HostKey {
    # Stop sshd and remove its host keys.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    $keys = @(Get-ChildItem -Path "$env:ProgramData\ssh\ssh_host_*" -ErrorAction SilentlyContinue)
    if ($keys.Count -gt 0) {
        Stop-Service -Name 'sshd' -Force -ErrorAction SilentlyContinue
    }
    foreach ($key in $keys) {
        Remove-Item -LiteralPath $key.FullName -Force
        $key.FullName
    }
}

function Clear-EventLog {
    # Empty every log that has entries.
    [CmdletBinding()]
    param()
    foreach ($log in @(Get-WinEvent -ListLog '*' -ErrorAction SilentlyContinue | Where-Object -FilterScript { $_.RecordCount -gt 0 })) {
        # Analytic logs that are enabled can not be emptied; they are not on disk for long.
        $null = Invoke-NativeCommand -FilePath 'wevtutil.exe' -ArgumentList @('clear-log', $log.LogName) -AnyExitCode
    }
}

Invoke-Stage -Body {
    $null = Read-StageInput
    Write-StageProgress -Message 'files' -Done 0 -Total 2
    Stop-Service -Name 'wuauserv' -Force -ErrorAction SilentlyContinue
    $removed = @(
        foreach ($folder in $script:Contents) {
            Clear-Folder -Path $folder
        }
        Clear-HostKey
        Clear-Folder -Path $script:Plugins
    )
    $left = @(Get-ChildItem -LiteralPath $script:Plugins -Force -ErrorAction SilentlyContinue)
    if ($left.Count -gt 0) {
        throw (New-StageFailure -Code 'leftover' -Message "$($left[0].FullName) can not be removed")
    }
    Write-StageProgress -Message 'event logs' -Done 1 -Total 2
    Clear-EventLog
    Write-StageResult -Result ([ordered]@{
            changed         = ($removed.Count -gt 0)
            reboot_required = $false
            removed         = $removed
            free_bytes      = Get-FreeSpace
        })
}
