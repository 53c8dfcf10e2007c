#Requires -Version 5.1
<#
.SYNOPSIS
    Tell whether Windows is up and steady.

.DESCRIPTION
    An automatic service is StartPending while it still comes up; after Hyper-V's first boot that takes a while. build.UBR is where an
    update's promise shows.
    https://learn.microsoft.com/windows/win32/cimwin32prov/win32-service

.NOTES
    Input: nothing. Changes nothing.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $null = Read-StageInput
    $version = Get-OsVersion
    $starting = @(Get-CimInstance -ClassName 'Win32_Service' -Filter "StartMode='Auto' AND State='Start Pending'")
    foreach ($service in $starting) {
        Write-StageLog -Message "still starting: $($service.Name)"
    }
    Write-StageResult -Result ([ordered]@{
            changed         = $false
            reboot_required = Test-PendingReboot
            boot_time       = Get-BootTime
            computer_name   = [System.Environment]::MachineName
            os_build        = "$($version.Build).$($version.Ubr)"
            pending_reboot  = Test-PendingReboot
            free_bytes      = Get-FreeSpace
            services_stable = ($starting.Count -eq 0)
        })
}
