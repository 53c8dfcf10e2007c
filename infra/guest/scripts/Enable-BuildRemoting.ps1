#Requires -Version 5.1
<#
.SYNOPSIS
    First contact: a certificate, an HTTPS listener, a firewall rule and a build account.

.DESCRIPTION
    Runs through managed Run Command as SYSTEM, for a new VM and for one that was restored from a checkpoint; the result is its last line.
    - WinRM takes a certificate whose subject is the listener's host name; the client checks the name it dials against the SAN, which has
      an IP address as iPAddress and anything else as dNSName.
    - A local administrator other than the built-in one gets a filtered token over the network unless LocalAccountTokenFilterPolicy is 1.
    - Basic authentication is off in the service by default; AllowUnencrypted stays off, so it works over HTTPS only.
    - An image can not be exported with the key: it is made not exportable.
    https://learn.microsoft.com/windows/win32/winrm/installation-and-configuration-for-windows-remote-management
    https://learn.microsoft.com/troubleshoot/windows-server/windows-security/user-account-control-and-remote-restriction
    https://learn.microsoft.com/powershell/module/pki/new-selfsignedcertificate

.NOTES
    Parameters: Address, Port, Account, Nonce (plain), Password (protected). Everything made here is removed by Invoke-Generalize.ps1.
    A second run makes a new certificate and sets the new password: that is how another worker takes over.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$Address,
    [Parameter(Mandatory = $true)][ValidateRange(1, 65535)][int]$Port,
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9-]{1,20}$')][string]$Account,
    [Parameter(Mandatory = $true)][string]$Nonce,
    [Parameter(Mandatory = $true)][string]$Password
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$script:RuleName = 'winvhd-winrm-https'
$script:CertificateName = 'winvhd-remoting'

function Write-StageResult {
    # The result line.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][System.Collections.IDictionary]$Result)
    $line = [ordered]@{ event = 'result' }
    foreach ($key in $Result.Keys) {
        $line[$key] = $Result[$key]
    }
    Write-Output -InputObject (ConvertTo-Json -InputObject $line -Compress)
}

function ConvertTo-ProtectedText {
    # A password as Windows' account commands take it.
    [CmdletBinding()]
    [OutputType([securestring])]
    param([Parameter(Mandatory = $true)][string]$Text)
    $secure = New-Object -TypeName 'System.Security.SecureString'
    foreach ($character in $Text.ToCharArray()) {
        $secure.AppendChar($character)
    }
    return $secure
}

function Set-BuildAccount {
    # An administrator with this name and password.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Name,
        [Parameter(Mandatory = $true)][securestring]$Secret
    )
    if ($null -eq (Get-LocalUser -Name $Name -ErrorAction SilentlyContinue)) {
        $null = New-LocalUser -Name $Name -Password $Secret -PasswordNeverExpires -AccountNeverExpires -Description 'Builds this image; removed at its end'
    }
    else {
        Set-LocalUser -Name $Name -Password $Secret
        Enable-LocalUser -Name $Name
    }
    # S-1-5-32-544: Administrators, in any language of Windows.
    $user = Get-LocalUser -Name $Name
    try {
        Add-LocalGroupMember -SID 'S-1-5-32-544' -Member $user
    }
    catch [Microsoft.PowerShell.Commands.MemberExistsException] {
        # Listing the members first would fail on a group that has an account of an unreachable domain.
        $null = $user
    }
}

function New-RemotingCertificate {
    # A certificate for the dialled name in the machine's store, in place of earlier ones of ours.
    [CmdletBinding()]
    [OutputType([System.Security.Cryptography.X509Certificates.X509Certificate2])]
    param([Parameter(Mandatory = $true)][string]$Name)
    foreach ($old in @(Get-ChildItem -Path 'Cert:\LocalMachine\My' | Where-Object -FilterScript { $_.FriendlyName -eq $script:CertificateName })) {
        Remove-Item -LiteralPath $old.PSPath -DeleteKey
    }
    $parsed = $null
    $kind = 'DNS'
    if ([System.Net.IPAddress]::TryParse($Name, [ref]$parsed)) {
        $kind = 'IPAddress'
    }
    $wanted = @{
        Subject           = "CN=$Name"
        FriendlyName      = $script:CertificateName
        CertStoreLocation = 'Cert:\LocalMachine\My'
        KeyAlgorithm      = 'RSA'
        KeyLength         = 2048
        HashAlgorithm     = 'SHA256'
        KeyExportPolicy   = 'NonExportable'
        # The clocks of guest and worker may differ.
        NotBefore         = [datetime]::Now.AddDays(-1)
        NotAfter          = [datetime]::Now.AddDays(30)
        TextExtension     = @("2.5.29.17={text}$kind=$Name", '2.5.29.37={text}1.3.6.1.5.5.7.3.1')
    }
    return New-SelfSignedCertificate @wanted
}

function Set-Listener {
    # The HTTPS listener on all addresses, with this certificate and port.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Name,
        [Parameter(Mandatory = $true)][int]$ListenerPort,
        [Parameter(Mandatory = $true)][string]$Thumbprint
    )
    foreach ($listener in @(Get-WSManInstance -ResourceURI 'winrm/config/Listener' -Enumerate | Where-Object -FilterScript { $_.Transport -eq 'HTTPS' })) {
        Remove-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet @{ Address = [string]$listener.Address; Transport = 'HTTPS' }
    }
    $selector = @{ Address = '*'; Transport = 'HTTPS' }
    $values = @{ Hostname = $Name; CertificateThumbprint = $Thumbprint; Port = [string]$ListenerPort; Enabled = 'true' }
    $null = New-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector -ValueSet $values
}

function Set-ListenerRule {
    # The firewall rule that lets the listener's port in.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][int]$ListenerPort)
    Get-NetFirewallRule -Name $script:RuleName -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    $rule = @{
        Name        = $script:RuleName
        DisplayName = 'WinRM over HTTPS for the image build'
        Direction   = 'Inbound'
        Protocol    = 'TCP'
        LocalPort   = $ListenerPort
        Action      = 'Allow'
        Profile     = 'Any'
    }
    $null = New-NetFirewallRule @rule
}

try {
    if ((Get-Service -Name 'WinRM').StartType -ne [System.ServiceProcess.ServiceStartMode]::Automatic) {
        Set-Service -Name 'WinRM' -StartupType Automatic
    }
    Start-Service -Name 'WinRM'
    $policies = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
    Set-ItemProperty -LiteralPath $policies -Name 'LocalAccountTokenFilterPolicy' -Value 1 -Type DWord
    Set-BuildAccount -Name $Account -Secret (ConvertTo-ProtectedText -Text $Password)
    $certificate = New-RemotingCertificate -Name $Address
    Set-Item -Path 'WSMan:\localhost\Service\Auth\Basic' -Value $true -Force
    Set-Listener -Name $Address -ListenerPort $Port -Thumbprint $certificate.Thumbprint
    Set-ListenerRule -ListenerPort $Port
    Write-StageResult -Result ([ordered]@{
            changed         = $true
            reboot_required = $false
            certificate     = [System.Convert]::ToBase64String($certificate.RawData)
            thumbprint      = $certificate.Thumbprint
            port            = $Port
            nonce           = $Nonce
        })
}
catch {
    $reason = $_.Exception.Message.Replace($Password, '...')
    Write-Output -InputObject (ConvertTo-Json -InputObject ([ordered]@{ event = 'error'; code = 'first-contact'; message = $reason }) -Compress)
    exit 1
}
