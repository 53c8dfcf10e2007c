#Requires -Version 5.1
<#
.SYNOPSIS
    Generalize Windows, then remove everything of the build and shut down.

.DESCRIPTION
    - Azure's agents take part in sysprep through VMAgentDisabler.dll, which is missing after some updates and then stops it: the services
      are deleted and the entry removed. Azure brings the agents back when a VM is made from the image.
    - An answer file of the base image would be used again: it is deleted.
    - sysprep /quit ends before the state says IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE at times, or never ends: the wait has a bound.
    - A file that is open with delete sharing can be renamed; its folder can be removed only after that.
    https://learn.microsoft.com/azure/virtual-machines/generalize
    https://learn.microsoft.com/windows-hardware/manufacture/desktop/sysprep-command-line-options
    https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-states

.NOTES
    Input: sysprep_timeout_s, build_account, certificate_thumbprint, listener_port. Runs as SYSTEM.
    The last contact: <run_id>.wait says that this waits, <run_id>.exit how it ended; once Remove-StageTask.ps1 has written <run_id>.read, or after
    60 s, the build's account, profile, certificate, key, listener, firewall rule, folder and task go. When one of them can not be removed
    Windows is not shut down, and the build fails: its secrets would be on the image.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Wanted = 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE'
$script:RuleName = 'winvhd-winrm-https'
$script:CertificateName = 'winvhd-remoting'

function Get-ImageState {
    # The state that Windows Setup has come to.
    [CmdletBinding()]
    [OutputType([string])]
    param()
    return [string](Get-RegistryValue -Path 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State' -Name 'ImageState')
}

function Remove-AzureAgent {
    # Stop and delete Azure's services, and take them out of sysprep.
    [CmdletBinding()]
    param()
    foreach ($name in @('RdAgent', 'WindowsAzureTelemetryService', 'WindowsAzureNetAgentSvc', 'WindowsAzureGuestAgent')) {
        if ($null -ne (Get-Service -Name $name -ErrorAction SilentlyContinue)) {
            Stop-Service -Name $name -Force
            $null = Invoke-NativeCommand -FilePath 'sc.exe' -ArgumentList @('delete', $name)
        }
    }
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\SysPrepExternal\Generalize', $true)
    if ($null -eq $key) {
        return
    }
    foreach ($name in $key.GetValueNames()) {
        if ([string]$key.GetValue($name) -like '*VMAgentDisabler.dll*') {
            $key.DeleteValue($name)
        }
    }
    $key.Dispose()
}

function Remove-AnswerFile {
    # Delete answer files that sysprep or the first boot would use.
    [CmdletBinding()]
    param()
    foreach ($path in @('Panther\unattend.xml', 'Panther\Unattend\unattend.xml', 'System32\Sysprep\unattend.xml', 'System32\Sysprep\Panther\unattend.xml')) {
        [System.IO.FileInfo]$file = Join-Path -Path $env:SystemRoot -ChildPath $path
        if ($file.Exists) {
            $file.Delete()
        }
    }
}

function Get-SetupError {
    # The end of sysprep's error log.
    [CmdletBinding()]
    [OutputType([string])]
    param()
    $path = "$env:SystemRoot\System32\Sysprep\Panther\setuperr.log"
    if (-not [System.IO.File]::Exists($path)) {
        return ''
    }
    $stream = New-Object -TypeName 'System.IO.FileStream' -ArgumentList @($path, [System.IO.FileMode]::Open, [System.IO.FileAccess]::Read, [System.IO.FileShare]'ReadWrite, Delete')
    $reader = New-Object -TypeName 'System.IO.StreamReader' -ArgumentList $stream
    $text = $reader.ReadToEnd().Trim()
    $reader.Dispose()
    return $text.Substring([Math]::Max(0, $text.Length - 1000))
}

function Invoke-Sysprep {
    # Run sysprep and wait for the state; the seconds it took.
    [CmdletBinding()]
    [OutputType([double])]
    param([Parameter(Mandatory = $true)][int]$TimeoutSecond)
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $command = Start-NativeCommand -FilePath "$env:SystemRoot\System32\Sysprep\sysprep.exe" -ArgumentList @('/oobe', '/generalize', '/mode:vm', '/quiet', '/quit')
    $endedAt = $null
    while ((Get-ImageState) -ne $script:Wanted) {
        if ($command.Process.HasExited -and ($null -eq $endedAt)) {
            $endedAt = $clock.Elapsed.TotalSeconds
        }
        # The state follows the program's end by some seconds; two minutes later it does not come any more.
        $isLate = ($null -ne $endedAt) -and (($clock.Elapsed.TotalSeconds - $endedAt) -gt 120)
        if ($isLate -or ($clock.Elapsed.TotalSeconds -gt $TimeoutSecond)) {
            Stop-NativeCommand -Command $command
            throw (New-StageFailure -Code 'sysprep-stuck' -Message "image state $(Get-ImageState) after $([int]$clock.Elapsed.TotalSeconds) s: $(Get-SetupError)")
        }
        Write-StageProgress -Message "sysprep: $(Get-ImageState)" -Done ([long]$clock.Elapsed.TotalSeconds) -Total $TimeoutSecond
        Start-Sleep -Seconds 1
    }
    $null = Complete-NativeCommand -Command $command -TimeoutSecond 300
    return [Math]::Round($clock.Elapsed.TotalSeconds, 1)
}

function Wait-ResultRead {
    # Say that the result waits to be read, and wait for it up to 60 s.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][string]$RunId)
    [System.IO.File]::WriteAllText((Get-RunPath -RunId $RunId -Kind 'wait'), 'wait')
    # Renamed, as Invoke-StageTask.ps1 does it: a reader must neither find the file open nor empty.
    $exitPath = Get-RunPath -RunId $RunId -Kind 'exit'
    [System.IO.File]::WriteAllText("$exitPath.part", '0')
    [System.IO.File]::Move("$exitPath.part", $exitPath)
    $path = Get-RunPath -RunId $RunId -Kind 'read'
    for ($i = 0; ($i -lt 300) -and (-not [System.IO.File]::Exists($path)); $i++) {
        Start-Sleep -Milliseconds 200
    }
    # The answer to whoever wrote it is still on its way.
    Start-Sleep -Seconds 3
}

function Remove-Remoting {
    # Listener, certificate with key, firewall rule, and the settings that first contact made.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Thumbprint,
        [Parameter(Mandatory = $true)][int]$Port
    )
    foreach ($listener in @(Get-WSManInstance -ResourceURI 'winrm/config/Listener' -Enumerate)) {
        if (($listener.Transport -eq 'HTTPS') -and ([int]$listener.Port -eq $Port)) {
            Remove-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet @{ Address = [string]$listener.Address; Transport = 'HTTPS' }
        }
    }
    Set-Item -Path 'WSMan:\localhost\Service\Auth\Basic' -Value $false -Force
    Get-NetFirewallRule -Name $script:RuleName -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    # This ends the shells, which hold the account's profile.
    Stop-Service -Name 'WinRM' -Force
    # By name, too: another worker may have made first contact meanwhile, with a certificate that the input does not know.
    $isOurs = { ($_.Thumbprint -eq $Thumbprint) -or ($_.FriendlyName -eq $script:CertificateName) }
    foreach ($certificate in @(Get-ChildItem -Path 'Cert:\LocalMachine\My' | Where-Object -FilterScript $isOurs)) {
        Remove-Item -LiteralPath $certificate.PSPath -DeleteKey
    }
    Remove-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System' -Name 'LocalAccountTokenFilterPolicy' -ErrorAction SilentlyContinue
}

function Remove-BuildAccount {
    # The account and its profile.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][string]$Name)
    $account = Get-LocalUser -Name $Name -ErrorAction SilentlyContinue
    if ($null -eq $account) {
        return
    }
    $sid = $account.SID.Value
    Invoke-WithRetry -Attempts 6 -PauseSecond 2 -Action {
        Get-CimInstance -ClassName 'Win32_UserProfile' -Filter "SID='$sid'" | Remove-CimInstance
    }
    Remove-LocalUser -Name $Name
}

function Remove-BuildFolder {
    # The folder of the scripts; files that are still open leave it first.
    [CmdletBinding()]
    param()
    foreach ($file in @(Get-ChildItem -LiteralPath (Join-Path -Path $PSScriptRoot -ChildPath 'runs') -File -Force)) {
        $aside = Join-Path -Path "$env:SystemRoot\Temp" -ChildPath ([guid]::NewGuid().ToString())
        Move-Item -LiteralPath $file.FullName -Destination $aside
        Remove-Item -LiteralPath $aside -Force
    }
    Remove-Item -LiteralPath $PSScriptRoot -Recurse -Force
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $runId = [string]$env:WINVHD_RUN_ID
    $seconds = [double]0
    $changed = (Get-ImageState) -ne $script:Wanted
    if ($changed) {
        Remove-AzureAgent
        Remove-AnswerFile
        $seconds = Invoke-Sysprep -TimeoutSecond $stageInput.sysprep_timeout_s
    }
    foreach ($folder in @('C:\WindowsAzure', 'C:\Packages')) {
        if (Test-Path -LiteralPath $folder) {
            Invoke-WithRetry -Attempts 5 -PauseSecond 3 -Action { Remove-Item -LiteralPath $folder -Recurse -Force }
        }
    }
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false; image_state = (Get-ImageState); seconds = $seconds })
    Wait-ResultRead -RunId $runId
    Remove-Remoting -Thumbprint $stageInput.certificate_thumbprint -Port $stageInput.listener_port
    Remove-BuildAccount -Name $stageInput.build_account
    Remove-BuildFolder
    $null = Invoke-NativeCommand -FilePath 'shutdown.exe' -ArgumentList @('/s', '/t', '5', '/d', 'p:2:4')
    # Last: whether a task may outlive its own registration does not matter any more.
    Unregister-ScheduledTask -TaskName "winvhd-$runId" -Confirm:$false
}
