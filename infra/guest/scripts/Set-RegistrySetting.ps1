#Requires -Version 5.1
<#
.SYNOPSIS
    Set registry values below HKLM.

.DESCRIPTION
    DWORD and QWORD are unsigned in the registry, while .NET takes them as signed numbers with the same bits. The operation `or` sets bits in
    what is there: HNSControlFlag and its like are shared by several features.
    https://learn.microsoft.com/dotnet/api/microsoft.win32.registryvaluekind

.NOTES
    Input: settings (path, name, type, value, operation, comment). Needs no restart of its own: hns and vfpext read their values when they
    start, and the layer ends with a restart.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function ConvertTo-SignedNumber {
    # The signed number with the same bits, as .NET's registry takes it.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][decimal]$Value,
        [Parameter(Mandatory = $true)][Microsoft.Win32.RegistryValueKind]$Kind
    )
    if ($Kind -eq [Microsoft.Win32.RegistryValueKind]::DWord) {
        return [System.BitConverter]::ToInt32([System.BitConverter]::GetBytes([uint32]$Value), 0)
    }
    return [System.BitConverter]::ToInt64([System.BitConverter]::GetBytes([uint64]$Value), 0)
}

function Get-SettingValue {
    # What the value has to become, in the .NET type of its kind.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][psobject]$Setting,
        [Parameter(Mandatory = $true)][Microsoft.Win32.RegistryValueKind]$Kind
    )
    if ($Kind -eq [Microsoft.Win32.RegistryValueKind]::MultiString) {
        return , [string[]]@($Setting.value)
    }
    if (($Kind -ne [Microsoft.Win32.RegistryValueKind]::DWord) -and ($Kind -ne [Microsoft.Win32.RegistryValueKind]::QWord)) {
        return [string]$Setting.value
    }
    $wanted = ConvertTo-SignedNumber -Value $Setting.value -Kind $Kind
    if ($Setting.operation -eq 'or') {
        $current = Get-RegistryValue -Path $Setting.path -Name $Setting.name
        if ($null -ne $current) {
            $wanted = $wanted -bor $current
        }
    }
    return $wanted
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $changedValues = @()
    foreach ($setting in @($stageInput.settings)) {
        $kind = [Microsoft.Win32.RegistryValueKind]$setting.type
        $value = Get-SettingValue -Setting $setting -Kind $kind
        if (Set-RegistryValue -Path $setting.path -Name $setting.name -Kind $kind -Value $value) {
            $changedValues += "$($setting.path)\$($setting.name)"
            Write-StageLog -Message "set $($setting.path)\$($setting.name) $($setting.comment)"
        }
    }
    Write-StageResult -Result ([ordered]@{ changed = ($changedValues.Count -gt 0); reboot_required = $false; changed_values = @($changedValues) })
}
