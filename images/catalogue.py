"""Names that Windows knows: server features, capabilities, and which build a marketplace SKU's year stands for.

Feature names are those of Get-WindowsFeature on Windows Server 2019, 2022 and 2025; capabilities those of Get-WindowsCapability -Online
(Microsoft Learn: "Server roles, role services and features", "Available Features on Demand").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_ROLES = """
AD-Certificate ADCS-Cert-Authority ADCS-Enroll-Web-Pol ADCS-Enroll-Web-Svc ADCS-Web-Enrollment ADCS-Device-Enrollment ADCS-Online-Cert
AD-Domain-Services ADFS-Federation ADLDS ADRMS ADRMS-Server ADRMS-Identity DeviceHealthAttestationService DHCP DNS Fax
FileAndStorage-Services File-Services FS-FileServer FS-BranchCache FS-Data-Deduplication FS-DFS-Namespace FS-DFS-Replication
FS-Resource-Manager FS-VSS-Agent FS-iSCSITarget-Server iSCSITarget-VSS-VDS FS-NFS-Service FS-SyncShareService Storage-Services
HostGuardianServiceRole Hyper-V NetworkController NPAS Print-Services Print-Server Print-LPD-Service RemoteAccess DirectAccess-VPN Routing
Web-Application-Proxy Remote-Desktop-Services RDS-Connection-Broker RDS-Gateway RDS-Licensing RDS-RD-Server RDS-Virtualization
RDS-Web-Access VolumeActivation WDS WDS-Deployment WDS-Transport UpdateServices UpdateServices-WidDB UpdateServices-Services
UpdateServices-DB
"""

_WEB_SERVER = """
Web-Server Web-WebServer Web-Common-Http Web-Default-Doc Web-Dir-Browsing Web-Http-Errors Web-Static-Content Web-Http-Redirect
Web-DAV-Publishing Web-Health Web-Http-Logging Web-Custom-Logging Web-Log-Libraries Web-ODBC-Logging Web-Request-Monitor Web-Http-Tracing
Web-Performance Web-Stat-Compression Web-Dyn-Compression Web-Security Web-Filtering Web-Basic-Auth Web-CertProvider Web-Client-Auth
Web-Digest-Auth Web-Cert-Auth Web-IP-Security Web-Url-Auth Web-Windows-Auth Web-App-Dev Web-Net-Ext Web-Net-Ext45 Web-AppInit Web-ASP
Web-Asp-Net Web-Asp-Net45 Web-CGI Web-ISAPI-Ext Web-ISAPI-Filter Web-Includes Web-WebSockets Web-Ftp-Server Web-Ftp-Service Web-Ftp-Ext
Web-Mgmt-Tools Web-Mgmt-Console Web-Mgmt-Compat Web-Metabase Web-Lgcy-Mgmt-Console Web-Lgcy-Scripting Web-WMI Web-Scripting-Tools
Web-Mgmt-Service Web-WHC
"""

_FEATURES = """
NET-Framework-Features NET-Framework-Core NET-HTTP-Activation NET-Non-HTTP-Activ NET-Framework-45-Features NET-Framework-45-Core
NET-Framework-45-ASPNET NET-WCF-Services45 NET-WCF-HTTP-Activation45 NET-WCF-MSMQ-Activation45 NET-WCF-Pipe-Activation45
NET-WCF-TCP-Activation45 NET-WCF-TCP-PortSharing45 BITS BITS-IIS-Ext BITS-Compact-Server BitLocker BitLocker-NetworkUnlock BranchCache
NFS-Client Containers Data-Center-Bridging Direct-Play EnhancedStorage Failover-Clustering GPMC DiskIo-QoS Internet-Print-Client IPAM
LPR-Port-Monitor ManagementOdata Server-Media-Foundation MSMQ MSMQ-Services MSMQ-Server MSMQ-Directory MSMQ-HTTP-Support MSMQ-Triggers
MSMQ-Multicasting MSMQ-Routing MSMQ-DCOM Multipath-IO MultiPoint-Connector NetworkATC NetworkVirtualization NLB PNRP qWave CMAK
Remote-Assistance RDC RPC-over-HTTP-Proxy Setup-and-Boot-Event-Collection Simple-TCPIP SMTP-Server SNMP-Service SNMP-WMI-Provider
SoftwareLoadBalancer Storage-Migration-Service Storage-Replica System-DataArchiver System-Insights Telnet-Client TFTP-Client
FabricShieldedTools HostGuardian Windows-Defender Windows-Defender-Gui Windows-Identity-Foundation Windows-Internal-Database PowerShellRoot
PowerShell PowerShell-V2 PowerShell-ISE DSC-Service WindowsPowerShellWebAccess WAS WAS-Process-Model WAS-NET-Environment WAS-Config-APIs
Search-Service Windows-Server-Backup Migration WindowsStorageManagementService Microsoft-Windows-Subsystem-Linux TIFFIFilter WINS
Wireless-Networking WoW64-Support XPS-Viewer AzureArcSetup
"""

_ADMINISTRATION_TOOLS = """
RSAT RSAT-Feature-Tools RSAT-SMTP RSAT-Feature-Tools-BitLocker RSAT-Feature-Tools-BitLocker-RemoteAdminTool
RSAT-Feature-Tools-BitLocker-BdeAducExt RSAT-Bits-Server RSAT-DataCenterBridging-LLDP-Tools RSAT-Clustering RSAT-Clustering-Mgmt
RSAT-Clustering-PowerShell RSAT-Clustering-AutomationServer RSAT-Clustering-CmdInterface RSAT-NLB RSAT-Shielded-VM-Tools RSAT-SNMP
RSAT-Storage-Replica RSAT-System-Insights RSAT-WINS RSAT-Role-Tools RSAT-AD-Tools RSAT-AD-PowerShell RSAT-ADDS RSAT-AD-AdminCenter
RSAT-ADDS-Tools RSAT-ADLDS RSAT-Hyper-V-Tools Hyper-V-Tools Hyper-V-PowerShell RSAT-RDS-Tools RSAT-RDS-Gateway
RSAT-RDS-Licensing-Diagnosis-UI RDS-Licensing-UI UpdateServices-RSAT UpdateServices-API UpdateServices-UI RSAT-ADCS RSAT-ADCS-Mgmt
RSAT-Online-Responder RSAT-ADRMS RSAT-DHCP RSAT-DNS-Server RSAT-Fax RSAT-File-Services RSAT-DFS-Mgmt-Con RSAT-FSRM-Mgmt RSAT-NFS-Admin
RSAT-NetworkController RSAT-NPAS RSAT-Print-Services RSAT-RemoteAccess RSAT-RemoteAccess-Mgmt RSAT-RemoteAccess-PowerShell
RSAT-VA-Tools WDS-AdminPack IPAM-Client-Feature
"""

_CAPABILITIES = """
Accessibility.Braille~~~~0.0.1.0 App.StepsRecorder~~~~0.0.1.0 AzureArcSetup~~~~ Browser.InternetExplorer~~~~0.0.11.0
DirectX.Configuration.Database~~~~0.0.1.0 Downlevel.NLS.Sorting.Versions.Server~~~~0.0.1.0 MathRecognizer~~~~0.0.1.0
Media.WindowsMediaPlayer~~~~0.0.12.0 Microsoft.WebDriver~~~~0.0.1.0 Microsoft.Windows.MSPaint~~~~0.0.1.0
Microsoft.Windows.Notepad~~~~0.0.1.0 Microsoft.Windows.PowerShell.ISE~~~~0.0.1.0 Microsoft.Windows.WordPad~~~~0.0.1.0
Msix.PackagingTool.Driver~~~~0.0.1.0 NetFX3~~~~ Network.Irda~~~~0.0.1.0 OpenSSH.Client~~~~0.0.1.0 OpenSSH.Server~~~~0.0.1.0
Print.EnterpriseCloudPrint~~~~0.0.1.0 Print.Fax.Scan~~~~0.0.1.0 Print.Management.Console~~~~0.0.1.0 RasCMAK.Client~~~~0.0.1.0
RIP.Listener~~~~0.0.1.0 ServerCore.AppCompatibility~~~~0.0.1.0 SNMP.Client~~~~0.0.1.0 Tools.DeveloperMode.Core~~~~0.0.1.0
Tools.Graphics.DirectX~~~~0.0.1.0 Windows.Client.ShellComponents~~~~0.0.1.0 Windows.Desktop.EMS-SAC.Tools~~~~0.0.1.0
WirelessDisplay.Connect.Tools~~~~ WMI-SNMP-Provider.Client~~~~0.0.1.0 WMIC~~~~ XPS.Viewer~~~~0.0.1.0
"""

FEATURES: frozenset[str] = frozenset((_ROLES + _WEB_SERVER + _FEATURES + _ADMINISTRATION_TOOLS).split())
"""Every server feature that Install-WindowsFeature can be asked for."""

OPTIONAL_FEATURE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Microsoft-Hyper-V": "Hyper-V",
        "Microsoft-Hyper-V-All": "Hyper-V",
        "Microsoft-Hyper-V-Management-PowerShell": "Hyper-V-PowerShell",
        "IIS-WebServerRole": "Web-Server",
        "IIS-WebServer": "Web-WebServer",
        "NetFx3": "NET-Framework-Core",
        "NetFx4": "NET-Framework-45-Core",
        "TelnetClient": "Telnet-Client",
        "TFTP": "TFTP-Client",
    }
)
"""What DISM and Enable-WindowsOptionalFeature call some of them: a frequent mix-up."""

CAPABILITIES: frozenset[str] = frozenset(_CAPABILITIES.split())
"""Capabilities that exist once; those for a language are recognized by their form."""

OPENSSH_SERVER = "OpenSSH.Server~~~~0.0.1.0"

_LANGUAGE_CAPABILITY = re.compile(
    r"Language\.(Basic|Fonts|Handwriting|OCR|Speech|TextToSpeech)~~~[A-Za-z]{2,8}(-[A-Za-z0-9]{2,8})*~0\.0\.1\.0"
)

WINDOWS_BUILDS: Mapping[str, int] = MappingProxyType({"2019": 17763, "2022": 20348, "2025": 26100})
"""Windows Server release by the year in a marketplace SKU (Microsoft Learn: "Windows Server release information")."""

DISM_ONLY_BUILDS: frozenset[int] = frozenset({26100})
"""Builds whose cumulative updates need their checkpoint updates beside them, which only DISM can be given."""


def is_capability(name: str) -> bool:
    """True when Windows knows a capability of this full name."""
    return name in CAPABILITIES or _LANGUAGE_CAPABILITY.fullmatch(name) is not None
