#Requires -Version 5.1
<#
.SYNOPSIS
    Write a small text file.

.DESCRIPTION
    UTF-8 without BOM, line ends as given. The text travels in the input, so it must be small and no secret.
    https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_character_encoding

.NOTES
    Input: path, text.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $changed = Set-TextContent -Path $stageInput.path -Text $stageInput.text
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
