#Requires -Version 5.1
<#
.SYNOPSIS
    Bring Defender's platform and signatures up to date.

.DESCRIPTION
    The platform (KB4052623) comes through the Windows Update agent, which refuses a WinRM shell's token; signatures through Update-MpSignature,
    or straight from Microsoft with MpCmdRun -SignatureUpdate -MMPC (2: it failed, or a restart is needed). Both take minutes; the service
    answers with the old version for a while.
    https://learn.microsoft.com/defender-endpoint/microsoft-defender-antivirus-updates
    https://learn.microsoft.com/windows/win32/wua_sdk/searching--downloading--and-installing-updates

.NOTES
    Input: update_platform, update_signatures, max_signature_age_hours. Runs as SYSTEM. 8c3fcc84-7410-4a95-8b89-a166a0190486 is the category
    "Microsoft Defender Antivirus" of Windows Update.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

function Install-Platform {
    # Install what Windows Update has for the platform; true when there was something.
    [CmdletBinding()]
    [OutputType([bool])]
    param()
    $session = New-Object -ComObject 'Microsoft.Update.Session'
    $criteria = "IsInstalled=0 and CategoryIDs contains '8c3fcc84-7410-4a95-8b89-a166a0190486'"
    $found = $session.CreateUpdateSearcher().Search($criteria)
    $wanted = New-Object -ComObject 'Microsoft.Update.UpdateColl'
    foreach ($update in @($found.Updates)) {
        if ($update.Title -match 'KB4052623') {
            $null = $wanted.Add($update)
        }
    }
    if ($wanted.Count -eq 0) {
        return $false
    }
    $downloader = $session.CreateUpdateDownloader()
    $downloader.Updates = $wanted
    $null = $downloader.Download()
    $installer = $session.CreateUpdateInstaller()
    $installer.Updates = $wanted
    $outcome = $installer.Install()
    # orcSucceeded
    if ($outcome.ResultCode -ne 2) {
        throw (New-StageFailure -Code 'defender-failed' -Message "installing the platform ended with result $($outcome.ResultCode), 0x$($outcome.HResult.ToString('x8'))")
    }
    return $true
}

function Update-Signature {
    # Newest signatures, from Windows Update or straight from Microsoft.
    [CmdletBinding()]
    param()
    try {
        Update-MpSignature
    }
    catch {
        Write-StageLog -Message "Update-MpSignature: $($_.Exception.Message)"
        $null = Invoke-NativeCommand -FilePath "$env:ProgramFiles\Windows Defender\MpCmdRun.exe" -ArgumentList @('-SignatureUpdate', '-MMPC') -TimeoutSecond 900
    }
}

function Wait-FreshSignature {
    # Defender's state once its signatures are young enough; waits up to ten minutes for it to load them.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][int]$MaximumAgeHour)
    for ($i = 0; $true; $i++) {
        $status = Get-MpComputerStatus
        $age = ([datetime]::UtcNow - $status.AntivirusSignatureLastUpdated.ToUniversalTime()).TotalHours
        if ($age -le $MaximumAgeHour) {
            return [pscustomobject]@{
                Platform  = [string]$status.AMProductVersion
                Signature = [string]$status.AntivirusSignatureVersion
                AgeHour   = [Math]::Round([Math]::Max(0, $age), 2)
            }
        }
        if ($i -ge 60) {
            throw (New-StageFailure -Code 'signatures-old' -Message "the signatures are $([int]$age) h old, $MaximumAgeHour h are allowed")
        }
        Start-Sleep -Seconds 10
    }
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $before = Get-MpComputerStatus
    if ($stageInput.update_platform) {
        Write-StageProgress -Message 'Defender platform'
        $null = Invoke-WithRetry -Attempts 3 -PauseSecond 20 -Action { Install-Platform }
    }
    if ($stageInput.update_signatures) {
        Write-StageProgress -Message 'Defender signatures'
        Invoke-WithRetry -Attempts 3 -PauseSecond 20 -Action { Update-Signature }
    }
    $now = Wait-FreshSignature -MaximumAgeHour $stageInput.max_signature_age_hours
    $changed = ($now.Platform -ne [string]$before.AMProductVersion) -or ($now.Signature -ne [string]$before.AntivirusSignatureVersion)
    Write-StageResult -Result ([ordered]@{
            changed             = $changed
            reboot_required     = $false
            platform_version    = $now.Platform
            signature_version   = $now.Signature
            signature_age_hours = $now.AgeHour
        })
}
