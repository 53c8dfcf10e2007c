#Requires -Version 5.1
<#
.SYNOPSIS
    List what is really on this Windows.

.DESCRIPTION
    The same is read once more from the captured disk, and the two must agree: so services come from the registry (drivers and templates of
    per-user services left out by their Type), registry values as they are stored, and images with the content that is in containerd's store.
    Lists are sorted by ordinal value, not by the rules of a language.
    - netsh marks the ranges an administrator excluded; Hyper-V adds others at each boot.
    - A Windows host runs images of its own build, and from 20348 on also of older builds down to that one.
    https://learn.microsoft.com/windows/win32/api/winsvc/nf-winsvc-createservicew
    https://learn.microsoft.com/windows/win32/api/wuapi/nf-wuapi-iupdatesearcher-queryhistory
    https://github.com/opencontainers/image-spec/blob/main/image-index.md

.NOTES
    Input: cache_roots, tool_roots, registry_paths. Runs as SYSTEM. Changes nothing. The build's own tasks (winvhd-*) are left out: the last
    contact removes them.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:CurrentVersion = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$script:Runtime = Join-Path -Path $env:ProgramFiles -ChildPath 'containerd'
$script:BlobFolder = Join-Path -Path $env:ProgramData -ChildPath 'containerd\root\io.containerd.content.v1.content\blobs\sha256'

function ConvertTo-OrdinalOrder {
    # The items in the ordinal order of their keys.
    [CmdletBinding()]
    [OutputType([object[]])]
    param(
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$Item,
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$Key
    )
    $sorted = [object[]]$Item.Clone()
    [System.Array]::Sort([string[]]$Key.Clone(), $sorted, [System.StringComparer]::Ordinal)
    return $sorted
}

function Get-OperatingSystem {
    # Product, build, UBR, installation type and generation.
    [CmdletBinding()]
    param()
    $values = Get-ItemProperty -LiteralPath $script:CurrentVersion
    $disk = Get-Partition -DriveLetter 'C' | Get-Disk
    $generation = 'V1'
    if ([string]$disk.PartitionStyle -eq 'GPT') {
        $generation = 'V2'
    }
    return [ordered]@{
        product_name      = [string]$values.ProductName
        build             = [int]$values.CurrentBuildNumber
        ubr               = [int]$values.UBR
        installation_type = [string]$values.InstallationType
        generation        = $generation
    }
}

function Get-InstalledFeature {
    # Installed server features, in the order of their tree.
    [CmdletBinding()]
    param()
    foreach ($feature in @(Get-WindowsFeature | Where-Object -FilterScript { $_.Installed })) {
        [ordered]@{ name = [string]$feature.Name; display_name = [string]$feature.DisplayName; depth = [int]$feature.Depth - 1 }
    }
}

function Get-InstalledCapability {
    # Full names of the installed capabilities.
    [CmdletBinding()]
    param()
    # Without LimitAccess it asks Windows Update as well, which a machine that is cut off from the Internet waits for.
    $names = @(Get-WindowsCapability -Online -LimitAccess | Where-Object -FilterScript { [string]$_.State -eq 'Installed' } | ForEach-Object -Process { [string]$_.Name })
    ConvertTo-OrdinalOrder -Item $names -Key $names
}

function Get-InstalledQfe {
    # Installed updates as Windows lists them.
    [CmdletBinding()]
    param()
    $fixes = @(Get-HotFix)
    $records = @($fixes | ForEach-Object -Process { [ordered]@{ kb = [string]$_.HotFixID; description = [string]$_.Description; support_link = [string]$_.Caption } })
    $keys = @($records | ForEach-Object -Process { $_.kb })
    ConvertTo-OrdinalOrder -Item $records -Key $keys
}

function Get-UpdateTitle {
    # Titles in the history of the Windows Update agent, each once.
    [CmdletBinding()]
    param()
    $searcher = (New-Object -ComObject 'Microsoft.Update.Session').CreateUpdateSearcher()
    $count = $searcher.GetTotalHistoryCount()
    if ($count -gt 0) {
        # orcSucceeded
        $done = @($searcher.QueryHistory(0, $count) | Where-Object -FilterScript { $_.ResultCode -eq 2 })
        $done | ForEach-Object -Process { [string]$_.Title } | Sort-Object -Unique
    }
}

function Get-ServiceRecord {
    # Win32 services with start mode and state.
    [CmdletBinding()]
    param()
    $states = @{}
    foreach ($service in @(Get-CimInstance -ClassName 'Win32_Service' -Property @('Name', 'State'))) {
        $states[[string]$service.Name] = [string]$service.State
    }
    $modes = @('Boot', 'System', 'Auto', 'Manual', 'Disabled')
    $root = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SYSTEM\CurrentControlSet\Services')
    $records = @(
        foreach ($name in $root.GetSubKeyNames()) {
            $key = $root.OpenSubKey($name)
            $type = $key.GetValue('Type')
            $start = $key.GetValue('Start')
            $isDelayed = $key.GetValue('DelayedAutostart') -eq 1
            $key.Dispose()
            # 0x10 and 0x20: a program's service; 0x40: the template of a per-user service, or one of its instances.
            if (($type -isnot [int]) -or ($start -isnot [int]) -or (($type -band 0x30) -eq 0) -or (($type -band 0x40) -ne 0)) {
                continue
            }
            $mode = $modes[$start]
            if (($mode -eq 'Auto') -and $isDelayed) {
                $mode = 'Auto (Delayed)'
            }
            [ordered]@{ name = [string]$name; start_mode = $mode; state = [string]$states[$name] }
        }
    )
    $root.Dispose()
    $keys = @($records | ForEach-Object -Process { $_.name.ToLowerInvariant() })
    ConvertTo-OrdinalOrder -Item $records -Key $keys
}

function Get-DefenderState {
    # Versions of Defender's parts, or nothing where it is not installed.
    [CmdletBinding()]
    param()
    if ($null -eq (Get-Service -Name 'WinDefend' -ErrorAction SilentlyContinue)) {
        return $null
    }
    $status = Get-MpComputerStatus
    return [ordered]@{
        platform_version   = [string]$status.AMProductVersion
        signature_version  = [string]$status.AntivirusSignatureVersion
        signatures_updated = $status.AntivirusSignatureLastUpdated.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ', [cultureinfo]::InvariantCulture)
    }
}

function ConvertTo-RegistryRecord {
    # One value as the registry stores it; numbers unsigned.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][Microsoft.Win32.RegistryKey]$Key,
        [Parameter(Mandatory = $true)][AllowEmptyString()][string]$Name
    )
    $types = @{
        String = 'REG_SZ'; ExpandString = 'REG_EXPAND_SZ'; MultiString = 'REG_MULTI_SZ'; DWord = 'REG_DWORD'
        QWord = 'REG_QWORD'; Binary = 'REG_BINARY'; None = 'REG_NONE'; Unknown = 'REG_NONE'
    }
    $kind = [string]$Key.GetValueKind($Name)
    $data = $Key.GetValue($Name, $null, [Microsoft.Win32.RegistryValueOptions]::DoNotExpandEnvironmentNames)
    if ($kind -eq 'DWord') {
        $data = [System.BitConverter]::ToUInt32([System.BitConverter]::GetBytes([int]$data), 0)
    }
    elseif ($kind -eq 'QWord') {
        $data = [System.BitConverter]::ToUInt64([System.BitConverter]::GetBytes([long]$data), 0)
    }
    elseif ($data -is [byte[]]) {
        $data = [System.BitConverter]::ToString($data).Replace('-', '').ToLowerInvariant()
    }
    return [ordered]@{ path = $Path; name = $Name; type = $types[$kind]; value = $data }
}

function Get-RegistryRecord {
    # All values of these keys; keys that are not there give nothing.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$Path)
    $records = @(
        foreach ($one in $Path) {
            $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey(($one -replace '^HKLM:\\', ''))
            if ($null -eq $key) {
                continue
            }
            foreach ($name in $key.GetValueNames()) {
                ConvertTo-RegistryRecord -Path $one -Key $key -Name $name
            }
            $key.Dispose()
        }
    )
    $keys = @($records | ForEach-Object -Process { "$($_.path)`0$($_.name)".ToLowerInvariant() })
    ConvertTo-OrdinalOrder -Item $records -Key $keys
}

function Get-FileRecord {
    # All files below these folders, with their hashes.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$Root)
    $records = @(
        foreach ($one in $Root) {
            foreach ($file in @(Get-ChildItem -LiteralPath $one -Recurse -File -Force -ErrorAction SilentlyContinue)) {
                Write-StageProgress -Message "hashing $($file.Name)"
                [ordered]@{ path = [string]$file.FullName; sha256 = (Get-FileSha256 -Path $file.FullName); size_bytes = [long]$file.Length }
            }
        }
    )
    $keys = @($records | ForEach-Object -Process { $_.path })
    ConvertTo-OrdinalOrder -Item $records -Key $keys
}

function Get-RuntimeState {
    # containerd's version and the hash of its configuration, or nothing where it is not installed.
    [CmdletBinding()]
    param()
    if (-not [System.IO.File]::Exists("$script:Runtime\containerd.exe")) {
        return $null
    }
    $outcome = Invoke-NativeCommand -FilePath "$script:Runtime\containerd.exe" -ArgumentList @('--version')
    return [ordered]@{
        name          = 'containerd'
        version       = ($outcome.Output.Trim() -split '\s+')[2]
        config_sha256 = Get-FileSha256 -Path "$script:Runtime\config.toml"
    }
}

function Get-BlobPath {
    # Where the content store has this digest.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][string]$Digest)
    return Join-Path -Path $script:BlobFolder -ChildPath ($Digest -replace '^sha256:', '')
}

function Read-Blob {
    # A manifest, index or config of the store, its size noted; nothing when it is not there.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Digest,
        [Parameter(Mandatory = $true)][hashtable]$Sizes
    )
    $path = Get-BlobPath -Digest $Digest
    if (-not [System.IO.File]::Exists($path)) {
        return $null
    }
    $Sizes[$Digest] = (New-Object -TypeName 'System.IO.FileInfo' -ArgumentList $path).Length
    return ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText($path))
}

function Get-JsonMember {
    # A member of a JSON object, or nothing.
    [CmdletBinding()]
    param(
        [AllowNull()][psobject]$Object,
        [Parameter(Mandatory = $true)][string]$Name
    )
    if (($null -ne $Object) -and ($Object.PSObject.Properties.Name -contains $Name)) {
        return $Object.$Name
    }
    return $null
}

function Format-Platform {
    # os/architecture/version of a platform or config.
    [CmdletBinding()]
    [OutputType([string])]
    param([AllowNull()][psobject]$Platform)
    $parts = @(foreach ($name in @('os', 'architecture', 'os.version')) { [string](Get-JsonMember -Object $Platform -Name $name) })
    return @($parts | Where-Object -FilterScript { $_ }) -join '/'
}

function Get-ManifestConfig {
    # The config digest of a manifest; sizes of its parts that are in the store are noted.
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [AllowNull()][psobject]$Manifest,
        [Parameter(Mandatory = $true)][hashtable]$Sizes
    )
    $config = Get-JsonMember -Object $Manifest -Name 'config'
    foreach ($part in @(@($config) + @(Get-JsonMember -Object $Manifest -Name 'layers'))) {
        $digest = [string](Get-JsonMember -Object $part -Name 'digest')
        if ($digest -and [System.IO.File]::Exists((Get-BlobPath -Digest $digest))) {
            $Sizes[$digest] = (New-Object -TypeName 'System.IO.FileInfo' -ArgumentList (Get-BlobPath -Digest $digest)).Length
        }
    }
    return [string](Get-JsonMember -Object $config -Name 'digest')
}

function Select-HostManifest {
    # Digest of the index entry that this Windows runs, empty when there is none.
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$Entries)
    $hostBuild = (Get-OsVersion).Build
    $best = -1
    $chosen = ''
    foreach ($entry in $Entries) {
        $platform = Get-JsonMember -Object $entry -Name 'platform'
        if (((Get-JsonMember -Object $platform -Name 'os') -ne 'windows') -or ((Get-JsonMember -Object $platform -Name 'architecture') -ne 'amd64')) {
            continue
        }
        $build = $hostBuild
        if ([string](Get-JsonMember -Object $platform -Name 'os.version') -match '^\d+\.\d+\.(\d+)') {
            $build = [int]$Matches[1]
        }
        $fits = ($build -eq $hostBuild) -or (($build -ge 20348) -and ($build -lt $hostBuild))
        if ($fits -and ($build -gt $best)) {
            $best = $build
            $chosen = [string]$entry.digest
        }
    }
    return $chosen
}

function Get-ImageRecord {
    # One image with what of its content is in the store.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][psobject]$Image)
    $sizes = @{}
    $document = Read-Blob -Digest $Image.Digest -Sizes $sizes
    $platforms = @()
    $configDigest = ''
    if ($null -ne (Get-JsonMember -Object $document -Name 'manifests')) {
        $entries = @($document.manifests)
        $chosen = Select-HostManifest -Entries $entries
        $names = @($entries | ForEach-Object -Process { Format-Platform -Platform (Get-JsonMember -Object $_ -Name 'platform') } | Where-Object -FilterScript { $_ })
        $platforms = @(ConvertTo-OrdinalOrder -Item $names -Key $names)
        foreach ($entry in $entries) {
            $config = Get-ManifestConfig -Manifest (Read-Blob -Digest $entry.digest -Sizes $sizes) -Sizes $sizes
            if ($entry.digest -eq $chosen) {
                $configDigest = $config
            }
        }
    }
    else {
        $configDigest = Get-ManifestConfig -Manifest $document -Sizes $sizes
        if ($configDigest) {
            $platforms = @(Format-Platform -Platform (Read-Blob -Digest $configDigest -Sizes $sizes))
        }
    }
    $total = [long]0
    foreach ($size in $sizes.Values) {
        $total += $size
    }
    return [ordered]@{
        name          = [string]$Image.Name
        digest        = [string]$Image.Digest
        media_type    = [string]$Image.MediaType
        config_digest = $configDigest
        size_bytes    = $total
        platforms     = @($platforms | Where-Object -FilterScript { $_ })
    }
}

function Get-ImageList {
    # The container images of this Windows.
    [CmdletBinding()]
    param()
    if (-not [System.IO.File]::Exists("$script:Runtime\ctr.exe")) {
        return
    }
    $records = @(Get-StoredImage -CtrPath "$script:Runtime\ctr.exe" | ForEach-Object -Process { Get-ImageRecord -Image $_ })
    $keys = @($records | ForEach-Object -Process { $_.name })
    ConvertTo-OrdinalOrder -Item $records -Key $keys
}

function Get-TaskRecord {
    # Scheduled tasks that are neither Windows' own nor the build's.
    [CmdletBinding()]
    param()
    $tasks = @(Get-ScheduledTask | Where-Object -FilterScript { ($_.TaskPath -notlike '\Microsoft\*') -and ($_.TaskName -notlike 'winvhd-*') })
    $records = @($tasks | ForEach-Object -Process { [ordered]@{ path = "$($_.TaskPath)$($_.TaskName)" } })
    $keys = @($records | ForEach-Object -Process { $_.path })
    ConvertTo-OrdinalOrder -Item $records -Key $keys
}

function Get-VhdId {
    # Content of C:\vhd-id.txt.
    [CmdletBinding()]
    [OutputType([string])]
    param()
    if ([System.IO.File]::Exists('C:\vhd-id.txt')) {
        return [System.IO.File]::ReadAllText('C:\vhd-id.txt').Trim()
    }
    return ''
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $drive = New-Object -TypeName 'System.IO.DriveInfo' -ArgumentList 'C'
    $inventory = [ordered]@{
        os                 = Get-OperatingSystem
        vhd_id             = Get-VhdId
        features           = @(Get-InstalledFeature)
        capabilities       = @(Get-InstalledCapability)
        qfes               = @(Get-InstalledQfe)
        updates            = @(Get-UpdateTitle)
        services           = @(Get-ServiceRecord)
        defender           = Get-DefenderState
        security_protocols = [string][System.Net.ServicePointManager]::SecurityProtocol
        registry           = @(Get-RegistryRecord -Path @($stageInput.registry_paths))
        excluded_udp_ports = @(Get-ExcludedUdpPort)
        runtime            = Get-RuntimeState
        container_images   = @(Get-ImageList)
        cached_files       = @(Get-FileRecord -Root @($stageInput.cache_roots))
        tools              = @(Get-FileRecord -Root @($stageInput.tool_roots))
        scheduled_tasks    = @(Get-TaskRecord)
        free_bytes         = [long]$drive.AvailableFreeSpace
        total_bytes        = [long]$drive.TotalSize
    }
    Write-StageResult -Result ([ordered]@{ changed = $false; reboot_required = $false; inventory = $inventory })
}
