"""Words of Windows PowerShell 5.1 that the checker compares with: approved verbs, default aliases, known commands.

Sources: https://learn.microsoft.com/powershell/scripting/developer/cmdlet/approved-verbs-for-windows-powershell-commands (without
the verbs that PowerShell 6 and 7 added: Build, Deploy) and `Get-Alias` of a Windows PowerShell 5.1 without profile.
"""

from __future__ import annotations

_VERBS = """
    Add Approve Assert Backup Block Checkpoint Clear Close Compare Complete Compress Confirm Connect Convert ConvertFrom ConvertTo Copy
    Debug Deny Disable Disconnect Dismount Edit Enable Enter Exit Expand Export Find Format Get Grant Group Hide Import Initialize
    Install Invoke Join Limit Lock Measure Merge Mount Move New Open Optimize Out Ping Pop Protect Publish Push Read Receive Redo
    Register Remove Rename Repair Request Reset Resize Resolve Restart Restore Resume Revoke Save Search Select Send Set Show Skip
    Split Start Step Stop Submit Suspend Switch Sync Test Trace Unblock Undo Uninstall Unlock Unprotect Unpublish Unregister Update
    Use Wait Watch Write
    """

_ALIASES = """
    % ? ac asnp cat cd cfs chdir clc clear clhy cli clp cls clv cnsn compare copy cp cpi cpp curl cvpa dbp del diff dir dnsn ebp echo
    epal epcsv epsn erase etsn exsn fc fhx fl foreach ft fw gal gbp gc gcb gci gcm gcs gdr ghy gi gin gjb gl gm gmo gp gps gpv group
    gsn gsnp gsv gtz gu gv gwmi h history icm iex ihy ii ipal ipcsv ipmo ipsn irm ise iwmi iwr kill lp ls man md measure mi mount move
    mp mv nal ndr ni nmo npssc nsn nv ogv oh popd ps pushd pwd r rbp rcjb rcsn rd rdr ren ri rjb rm rmdir rmo rni rnp rp rsn rsnp
    rujb rv rvpa rwmi sajb sal saps sasv sbp sc scb select set shcm si sl sleep sls sort sp spjb spps spsv start stz sujb sv swmi tee
    trcm type wget where wjb write
    """

# Commands of Windows Server's own modules that the scripts call: a name that is neither here nor one of our functions is misspelt.
# https://learn.microsoft.com/powershell/module/ has each of them, for Windows Server 2019 to 2025.
_WINDOWS_COMMANDS = """
    Add-LocalGroupMember Add-Type Add-WindowsCapability ConvertFrom-Json ConvertTo-Json Enable-LocalUser Expand-Archive ForEach-Object
    Get-ChildItem Get-CimInstance Get-Disk Get-FileHash Get-HnsEndpoint Get-HnsNetwork Get-HotFix Get-ItemProperty Get-LocalUser
    Get-MpComputerStatus Get-NetFirewallRule Get-NetIPAddress Get-Partition Get-PartitionSupportedSize Get-ScheduledTask Get-Service
    Get-WSManInstance Get-WinEvent Get-WindowsCapability Get-WindowsFeature Import-Module Install-WindowsFeature Join-Path Move-Item
    New-CimInstance New-LocalUser New-NetFirewallRule New-Object New-ScheduledTaskAction New-ScheduledTaskPrincipal
    New-ScheduledTaskSettingsSet New-ScheduledTaskTrigger New-SelfSignedCertificate New-WSManInstance Register-ScheduledTask
    Remove-CimInstance Remove-HnsEndpoint Remove-HnsNetwork Remove-Item Remove-ItemProperty Remove-LocalUser Remove-NetFirewallRule
    Remove-TypeData Remove-WSManInstance Resize-Partition Resolve-DnsName Restart-Service Select-Object Set-Acl Set-CimInstance
    Set-Item Set-ItemProperty Set-LocalUser Set-Service Set-StrictMode Sort-Object Start-ScheduledTask Start-Service Start-Sleep
    Stop-ScheduledTask Stop-Service Test-Path Unregister-ScheduledTask Update-HostStorageCache Update-MpSignature Where-Object
    Write-Output
    """

APPROVED_VERBS = frozenset(_VERBS.split())
ALIASES = frozenset(_ALIASES.split())
WINDOWS_COMMANDS = frozenset(word.lower() for word in _WINDOWS_COMMANDS.split())
