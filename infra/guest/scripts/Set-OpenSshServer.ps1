#Requires -Version 5.1
<#
.SYNOPSIS
    Configure and start the OpenSSH server.

.DESCRIPTION
    sshd reads %ProgramData%\ssh\sshd_config, which its first start copies from sshd_config_default, making host keys too (the clean-up
    removes them from the image). A keyword's first value counts, and everything after a Match line belongs to that block, so settings
    go before the first one.
    https://learn.microsoft.com/windows-server/administration/openssh/openssh-server-configuration

.NOTES
    Input: password_authentication, permit_empty_passwords, ciphers, macs, kex_algorithms; an empty list leaves sshd's default.
    Needs the capability OpenSSH.Server.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Update-ConfigText {
    # The configuration with this keyword set; a line that sets it, or a comment that shows it, is replaced.
    [CmdletBinding()]
    [OutputType([string[]])]
    param(
        [Parameter(Mandatory = $true)][AllowEmptyString()][string[]]$Lines,
        [Parameter(Mandatory = $true)][string]$Keyword,
        [Parameter(Mandatory = $true)][string]$Value
    )
    $kept = New-Object -TypeName 'System.Collections.Generic.List[string]'
    $kept.Add("$Keyword $Value")
    $isInMatch = $false
    foreach ($line in $Lines) {
        $isInMatch = $isInMatch -or ($line -match '^\s*Match\s')
        if ($isInMatch -or ($line -notmatch "^\s*#?\s*$Keyword\s")) {
            $kept.Add($line)
        }
    }
    return $kept.ToArray()
}

function Get-WantedSetting {
    # Keyword and value of everything that the input asks for.
    [CmdletBinding()]
    [OutputType([System.Collections.Specialized.OrderedDictionary])]
    param([Parameter(Mandatory = $true)][psobject]$StageInput)
    $words = @{ $true = 'yes'; $false = 'no' }
    # Written from the last to the first, since each one goes to the top.
    $wanted = [ordered]@{
        PermitEmptyPasswords   = $words[[bool]$stageInput.permit_empty_passwords]
        PasswordAuthentication = $words[[bool]$stageInput.password_authentication]
    }
    foreach ($list in @(@('Ciphers', $stageInput.ciphers), @('MACs', $stageInput.macs), @('KexAlgorithms', $stageInput.kex_algorithms))) {
        $names = @($list[1])
        if ($names.Count -gt 0) {
            $wanted[$list[0]] = $names -join ','
        }
    }
    return $wanted
}

function Test-Setting {
    # True when the configuration sets this keyword to this value, before any Match block and for the first time.
    [CmdletBinding()]
    [OutputType([bool])]
    param(
        [Parameter(Mandatory = $true)][AllowEmptyString()][string[]]$Lines,
        [Parameter(Mandatory = $true)][string]$Keyword,
        [Parameter(Mandatory = $true)][string]$Value
    )
    foreach ($line in $Lines) {
        if ($line -match '^\s*Match\s') {
            return $false
        }
        if ($line -match "^\s*$Keyword\s+(.*?)\s*$") {
            return $Matches[1] -ceq $Value
        }
    }
    return $false
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $service = Get-Service -Name 'sshd' -ErrorAction SilentlyContinue
    if ($null -eq $service) {
        throw (New-StageFailure -Code 'capability-missing' -Message 'the service sshd is not there: the capability OpenSSH.Server is not installed')
    }
    $changed = $false
    if ($service.StartType -ne [System.ServiceProcess.ServiceStartMode]::Automatic) {
        Set-Service -Name 'sshd' -StartupType Automatic
        $changed = $true
    }
    if ($service.Status -ne [System.ServiceProcess.ServiceControllerStatus]::Running) {
        Start-Service -Name 'sshd'
    }
    $config = Join-Path -Path $env:ProgramData -ChildPath 'ssh\sshd_config'
    $lines = [System.IO.File]::ReadAllLines($config)
    $wanted = Get-WantedSetting -StageInput $stageInput
    foreach ($keyword in $wanted.Keys) {
        if (-not (Test-Setting -Lines $lines -Keyword $keyword -Value $wanted[$keyword])) {
            $lines = Update-ConfigText -Lines $lines -Keyword $keyword -Value $wanted[$keyword]
        }
    }
    if (Set-TextContent -Path $config -Text (($lines -join "`r`n") + "`r`n")) {
        # sshd says what it does not understand, and would not start.
        $null = Invoke-NativeCommand -FilePath 'OpenSSH\sshd.exe' -ArgumentList @('-t')
        Restart-Service -Name 'sshd'
        $changed = $true
    }
    if ($null -eq (Get-NetFirewallRule -Name 'OpenSSH-Server-In-TCP' -ErrorAction SilentlyContinue)) {
        $null = New-NetFirewallRule -Name 'OpenSSH-Server-In-TCP' -DisplayName 'OpenSSH SSH Server (sshd)' -Direction Inbound -Protocol TCP -LocalPort 22 -Action Allow
        $changed = $true
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false })
}
