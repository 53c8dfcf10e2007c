#Requires -Version 5.1
<#
.SYNOPSIS
    Install containerd, its configuration and its service.

.DESCRIPTION
    The archive holds bin\containerd.exe and bin\ctr.exe; containerd looks for config.toml beside its program, and registers its own
    service. discard_unpacked_layers drops a layer's archive once it is unpacked. A running service holds its program's file, so it is stopped
    before a new one is put there.
    https://github.com/containerd/containerd/blob/main/docs/getting-started.md
    https://learn.microsoft.com/virtualization/windowscontainers/manage-containers/mitigate-windows-containers

.NOTES
    Input: version, archive (url, path, sha256, size_bytes). The hash of the installed archive is kept beside the programs: it tells
    whether anything is to be done. Needs the feature Containers.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Folder = Join-Path -Path $env:ProgramFiles -ChildPath 'containerd'
$script:ConfigText = @'
version = 2
root = "C:\\ProgramData\\containerd\\root"
state = "C:\\ProgramData\\containerd\\state"

[grpc]
  address = "\\\\.\\pipe\\containerd-containerd"

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".containerd]
      snapshotter = "windows"
      discard_unpacked_layers = true
      default_runtime_name = "runhcs-wcow-process"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runhcs-wcow-process]
        runtime_type = "io.containerd.runhcs.v1"
'@

function Install-Program {
    # Download, verify and unpack; the programs end up in the folder itself.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][psobject]$Archive)
    $hadArchive = Test-VerifiedFile -Path $Archive.path -Length $Archive.size_bytes -Sha256 $Archive.sha256
    $source = [pscustomobject]@{ url = $Archive.url; path = $Archive.path; sha256 = $Archive.sha256; size_bytes = [long]$Archive.size_bytes }
    $null = Save-VerifiedFile -File @($source) -Attempts 5
    if ($null -ne (Get-Service -Name 'containerd' -ErrorAction SilentlyContinue)) {
        Stop-Service -Name 'containerd' -Force
    }
    Expand-PackageArchive -Path $Archive.path -Destination $script:Folder
    $programs = Join-Path -Path $script:Folder -ChildPath 'bin'
    foreach ($file in @(Get-ChildItem -LiteralPath $programs -File)) {
        Move-Item -LiteralPath $file.FullName -Destination $script:Folder -Force
    }
    Remove-Item -LiteralPath $programs -Recurse -Force
    if (-not $hadArchive) {
        Remove-Item -LiteralPath $Archive.path -Force
    }
}

function Add-SearchPath {
    # Put the folder on the machine's search path; true when it was not there.
    [CmdletBinding()]
    [OutputType([bool])]
    param([Parameter(Mandatory = $true)][string]$Folder)
    $path = [System.Environment]::GetEnvironmentVariable('Path', [System.EnvironmentVariableTarget]::Machine)
    if (($path -split ';') -contains $Folder) {
        return $false
    }
    [System.Environment]::SetEnvironmentVariable('Path', "$($path.TrimEnd(';'));$Folder", [System.EnvironmentVariableTarget]::Machine)
    return $true
}

function Get-RuntimeVersion {
    # The version in "containerd github.com/containerd/containerd v1.7.20 <revision>".
    [CmdletBinding()]
    [OutputType([string])]
    param()
    $outcome = Invoke-NativeCommand -FilePath "$script:Folder\containerd.exe" -ArgumentList @('--version')
    return ($outcome.Output.Trim() -split '\s+')[2]
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $archive = $stageInput.archive
    $mark = Join-Path -Path $script:Folder -ChildPath 'archive.sha256'
    $isInstalled = [System.IO.File]::Exists($mark) -and ([System.IO.File]::ReadAllText($mark) -eq $archive.sha256)
    if (-not $isInstalled) {
        Write-StageProgress -Message "containerd $($stageInput.version)"
        Install-Program -Archive $archive
    }
    $hasNewConfig = Set-TextContent -Path (Join-Path -Path $script:Folder -ChildPath 'config.toml') -Text $script:ConfigText
    $changed = (Add-SearchPath -Folder $script:Folder) -or $hasNewConfig -or (-not $isInstalled)
    if ($null -eq (Get-Service -Name 'containerd' -ErrorAction SilentlyContinue)) {
        $null = Invoke-NativeCommand -FilePath "$script:Folder\containerd.exe" -ArgumentList @('--register-service')
        $changed = $true
    }
    $service = Get-Service -Name 'containerd'
    if ($service.StartType -ne [System.ServiceProcess.ServiceStartMode]::Automatic) {
        Set-Service -Name 'containerd' -StartupType Automatic
        $changed = $true
    }
    if ($hasNewConfig -and ($service.Status -eq [System.ServiceProcess.ServiceControllerStatus]::Running)) {
        Stop-Service -Name 'containerd' -Force
    }
    Start-Service -Name 'containerd'
    $null = Set-TextContent -Path $mark -Text ([string]$archive.sha256)
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false; version = (Get-RuntimeVersion) })
}
