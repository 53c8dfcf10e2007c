#Requires -Version 5.1
<#
.SYNOPSIS
    Look whether a machine made from the image came up whole, without leftovers of the build.

.DESCRIPTION
    ImageState is IMAGE_STATE_COMPLETE after the out-of-box phase. This contact has an account, a listener and a folder of its own: they count only
    when they are older than this Windows' specialize pass, which gives the machine its name and its install date.
    https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-states

.NOTES
    Input: nothing. Changes nothing.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Get-AccountLeftover {
    # Accounts of a build other than the one that asks, and profiles without an account.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    foreach ($account in @(Get-LocalUser | Where-Object -FilterScript { ($_.Name -like 'winvhd*') -and ($_.Name -ne $env:USERNAME) })) {
        "account $($account.Name)"
    }
    foreach ($folder in @(Get-ChildItem -Path 'C:\Users\winvhd*' -Directory -Force | Where-Object -FilterScript { $_.Name -ne $env:USERNAME })) {
        "profile $($folder.FullName)"
    }
}

function Get-FolderLeftover {
    # Folders of the build that are older than this installation.
    [CmdletBinding()]
    [OutputType([string[]])]
    param([Parameter(Mandatory = $true)][datetime]$InstalledAt)
    foreach ($path in @($PSScriptRoot, 'C:\Packages\Plugins')) {
        foreach ($item in @(Get-ChildItem -LiteralPath $path -Force -ErrorAction SilentlyContinue)) {
            if ($item.CreationTimeUtc -lt $InstalledAt) {
                "file $($item.FullName)"
            }
        }
    }
}

function Get-RemotingLeftover {
    # Certificates of a build that no listener of this contact uses, and settings for more than one listener.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    $listeners = @(Get-WSManInstance -ResourceURI 'winrm/config/Listener' -Enumerate | Where-Object -FilterScript { $_.Transport -eq 'HTTPS' })
    $used = @($listeners | ForEach-Object -Process { ([string]$_.CertificateThumbprint).Replace(' ', '') })
    if ($listeners.Count -gt 1) {
        "listeners $($listeners.Count)"
    }
    foreach ($certificate in @(Get-ChildItem -Path 'Cert:\LocalMachine\My' | Where-Object -FilterScript { $_.FriendlyName -eq 'winvhd-remoting' })) {
        if ($used -notcontains $certificate.Thumbprint) {
            "certificate $($certificate.Thumbprint)"
        }
    }
}

function Get-TaskLeftover {
    # Scheduled tasks of a build.
    [CmdletBinding()]
    [OutputType([string[]])]
    param()
    foreach ($task in @(Get-ScheduledTask | Where-Object -FilterScript { $_.TaskName -like 'winvhd-*' })) {
        $made = [System.IO.File]::GetLastWriteTimeUtc("$env:SystemRoot\System32\Tasks\$($task.TaskName)")
        "task $($task.TaskName), made $($made.ToString('s', [cultureinfo]::InvariantCulture))"
    }
}

Invoke-Stage -Body {
    $null = Read-StageInput
    $setup = Get-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State'
    $installedAt = (Get-CimInstance -ClassName 'Win32_OperatingSystem' -Property 'InstallDate').InstallDate.ToUniversalTime()
    $vhdId = ''
    if ([System.IO.File]::Exists('C:\vhd-id.txt')) {
        $vhdId = [System.IO.File]::ReadAllText('C:\vhd-id.txt').Trim()
    }
    $leftovers = @(
        Get-AccountLeftover
        Get-FolderLeftover -InstalledAt $installedAt
        Get-RemotingLeftover
        Get-TaskLeftover
    )
    Write-StageResult -Result ([ordered]@{
            changed         = $false
            reboot_required = $false
            image_state     = [string]$setup.ImageState
            leftovers       = $leftovers
            vhd_id          = $vhdId
        })
}
