#Requires -Version 5.1
<#
.SYNOPSIS
    Write the identity of this image to C:\vhd-id.txt.

.DESCRIPTION
    Support asks a node for this GUID; the release notes name it. UTF-8 without BOM, no line end.
    https://github.com/Azure/AgentBaker/tree/master/vhdbuilder/packer/windows

.NOTES
    Input: vhd_id, a GUID.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    # A text that is no GUID ends the stage here.
    $id = [string][guid]$stageInput.vhd_id
    $changed = Set-TextContent -Path 'C:\vhd-id.txt' -Text $id
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
