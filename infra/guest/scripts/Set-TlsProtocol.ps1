#Requires -Version 5.1
<#
.SYNOPSIS
    Enable and disable protocols of SChannel, for clients and servers.

.DESCRIPTION
    SChannel reads Enabled and DisabledByDefault below Protocols\<name>\Client and \Server when a process starts; services see a change after a
    restart.
    https://learn.microsoft.com/windows-server/security/tls/tls-registry-settings

.NOTES
    Input: disabled, enabled: protocol names as their registry keys spell them.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Set-Protocol {
    # True when one of the protocol's four values was another one.
    [CmdletBinding()]
    [OutputType([bool])]
    param(
        [Parameter(Mandatory = $true)][string]$Name,
        [Parameter(Mandatory = $true)][bool]$Enabled
    )
    $changed = $false
    foreach ($side in @('Client', 'Server')) {
        $path = "HKLM:\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL\Protocols\$Name\$side"
        $changed = (Set-RegistryValue -Path $path -Name 'Enabled' -Kind 'DWord' -Value ([int]$Enabled)) -or $changed
        $changed = (Set-RegistryValue -Path $path -Name 'DisabledByDefault' -Kind 'DWord' -Value ([int](-not $Enabled))) -or $changed
    }
    return $changed
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $changed = $false
    foreach ($name in @($stageInput.disabled)) {
        $changed = (Set-Protocol -Name $name -Enabled $false) -or $changed
    }
    foreach ($name in @($stageInput.enabled)) {
        $changed = (Set-Protocol -Name $name -Enabled $true) -or $changed
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $changed })
}
