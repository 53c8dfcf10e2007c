#Requires -Version 5.1
<#
.SYNOPSIS
    Pull container images into containerd by digest, several at a time, their layers from the blob cache, and name them by tag.

.DESCRIPTION
    Tags such as ltsc2022 move every month, digests do not: repository@digest is pulled, then tagged, whatever the tag says in the registry now.
    Kubernetes looks for images in containerd's namespace k8s.io. ctr pulls what fits this Windows unless --all-platforms is given. A pull is
    tried again, but not on a full disk and not when the registry does not have the digest; one that fails ends the stage.
    https://github.com/containerd/containerd/blob/main/cmd/ctr/commands/images/pull.go
    https://github.com/containerd/containerd/blob/main/cmd/ctr/commands/images/tag.go

    Manifests come from the registry, config and layers from the blob cache: for the stage's time a mirror on this machine answers containerd's
    requests for blobs that the cache has with a redirect to their read SAS, and every other request with 404. containerd asks the mirror
    first and the registry for what it does not get there, follows redirects, and commits only bytes with the right digest; so a cache that
    lacks a blob, refuses it or can not be reached costs nothing but the time. A pull that fails all the same, as over wrong bytes in the
    cache, is tried again without the mirror. Addresses with SAS tokens stay in this process's memory; the mirror's own address is in a file.
    https://github.com/containerd/containerd/blob/main/docs/hosts.md (--hosts-dir, _default, capabilities, the fallback to the registry)
    https://github.com/containerd/containerd/blob/main/core/remotes/docker/fetcher.go (the next host after a failure of any
    kind; containerd 1.5 goes on after 404 only, so that its next host is the next try)
    https://learn.microsoft.com/dotnet/api/system.net.httplistener
    https://learn.microsoft.com/previous-versions/windows/it-pro/windows-server-2008-r2-and-2008/dd392883(v=ws.10) (who is no administrator
    must reserve an address first; SYSTEM need not)

    What containerd knows afterwards, all with the same target:
    - repository@digest, from the pull. It stays: it is the RepoDigest of the CRI, which a pull by tag with ctr does not leave.
      https://github.com/kubernetes-sigs/cri-tools/issues/1082 https://github.com/containerd/containerd/issues/13243
    - repository:tag, from the tag: what a pod names. Tag and digest in one name is nothing that the CRI can take apart.
      https://github.com/containerd/containerd/issues/13969
    - the config's digest, which the CRI plugin adds when it sees a name without its label io.cri-containerd.image=managed. It sets that label
      itself; set by ctr (--label, images label) beforehand, the label would tell the plugin that this name is there already.
      https://github.com/containerd/containerd/blob/main/internal/cri/server/images/image_pull.go (UpdateImage)

.NOTES
    Input: images (reference, digest, blobs), parallel, attempts. blobs gives read URLs by sha256; without a URL the registry must have it.
    Images whose tag has the right digest already are left alone: the tag is set when a pull has come to its end, unpacking included. Runs as
    SYSTEM: a WinRM shell's job would end the pulls with the connection.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Ctr = Join-Path -Path $env:ProgramFiles -ChildPath 'containerd\ctr.exe'
$script:HostsFolder = Join-Path -Path $PSScriptRoot -ChildPath 'registry-hosts'

function Start-Runtime {
    # Start containerd where it does not run: its pipe is what ctr talks to.
    [CmdletBinding()]
    param()
    $service = Get-Service -Name 'containerd' -ErrorAction SilentlyContinue
    if ($null -eq $service) {
        throw (New-StageFailure -Code 'containerd-missing' -Message 'the service containerd is not there: install the container runtime first')
    }
    if ($service.Status -eq [System.ServiceProcess.ServiceControllerStatus]::Running) {
        return
    }
    Write-StageLog -Message "containerd is $($service.Status): starting it"
    try {
        Start-Service -Name 'containerd'
    }
    catch {
        throw (New-StageFailure -Code 'containerd-stopped' -Message "containerd does not start: $($_.Exception.Message)")
    }
}

function Get-CachedBlob {
    # Address by digest of the blobs that the cache has.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$Image)
    $addresses = @{}
    foreach ($one in $Image) {
        foreach ($blob in $one.blobs.PSObject.Properties) {
            if ([string]::IsNullOrEmpty($blob.Value)) {
                Write-StageLog -Message "$($one.reference): the cache does not have sha256:$($blob.Name), it comes from the registry"
            }
            else {
                $addresses["sha256:$($blob.Name)"] = [string]$blob.Value
            }
        }
    }
    return $addresses
}

function Get-FreePort {
    # A TCP port of this machine that nobody listens on.
    [CmdletBinding()]
    [OutputType([int])]
    param()
    $probe = New-Object -TypeName 'System.Net.Sockets.TcpListener' -ArgumentList @([System.Net.IPAddress]::Loopback, 0)
    $probe.Start()
    try {
        return $probe.LocalEndpoint.Port
    }
    finally {
        $probe.Stop()
    }
}

function Start-Mirror {
    # Answer for these blobs on this machine, and tell containerd where; null when there are none, or when it can not be done.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param([Parameter(Mandatory = $true)][hashtable]$Address)
    if ($Address.Count -eq 0) {
        return $null
    }
    $listener = New-Object -TypeName 'System.Net.HttpListener'
    try {
        $root = "http://127.0.0.1:$(Get-FreePort)"
        $listener.Prefixes.Add("$root/")
        $listener.Start()
        # Without a server of its own, _default leads on to whatever registry an image names.
        $null = Set-TextContent -Path "$script:HostsFolder\_default\hosts.toml" -Text "[host.""$root""]`n  capabilities = [""pull""]`n"
        return @{ Listener = $listener; Address = $Address; Request = $listener.GetContextAsync() }
    }
    catch {
        $listener.Close()
        Write-StageLog -Message "no mirror, all layers come from their registries: $($_.Exception.GetBaseException().Message)"
        return $null
    }
}

function Send-MirrorAnswer {
    # Answer the request that is there, and listen for the next one.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$Mirror)
    try {
        $context = $Mirror.Request.GetAwaiter().GetResult()
        $Mirror.Request = $Mirror.Listener.GetContextAsync()
    }
    catch {
        # containerd must not wait for answers that nobody gives: with the port closed it asks the registry.
        $Mirror.Listener.Close()
        $Mirror.Request = $null
        Write-StageLog -Message "the mirror ends, further layers come from their registries: $($_.Exception.GetBaseException().Message)"
        return
    }
    try {
        $digest = [uri]::UnescapeDataString($context.Request.Url.Segments[-1])
        if (($context.Request.Url.AbsolutePath -match '/blobs/') -and $Mirror.Address.ContainsKey($digest)) {
            $context.Response.StatusCode = 307
            $context.Response.RedirectLocation = $Mirror.Address[$digest]
        }
        else {
            $context.Response.StatusCode = 404
        }
        $context.Response.ContentLength64 = 0
        $context.Response.Close()
    }
    catch {
        # Whoever asked has gone.
        Write-StageLog -Message "mirror: $($_.Exception.GetBaseException().Message)"
    }
}

function Wait-Mirror {
    # Let 200 ms pass, or less when requests came; they are answered.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][AllowNull()][hashtable]$Mirror)
    if (($null -eq $Mirror) -or ($null -eq $Mirror.Request)) {
        Start-Sleep -Milliseconds 200
        return
    }
    $requests = [System.Threading.Tasks.Task[]]@($Mirror.Request)
    if ([System.Threading.Tasks.Task]::WaitAny($requests, 200) -eq 0) {
        Send-MirrorAnswer -Mirror $Mirror
    }
}

function Stop-Mirror {
    # Answer no more, and leave nothing on the disk.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][AllowNull()][hashtable]$Mirror)
    if ($null -ne $Mirror) {
        $Mirror.Listener.Close()
    }
    if (Test-Path -LiteralPath $script:HostsFolder) {
        Remove-Item -LiteralPath $script:HostsFolder -Recurse -Force
    }
}

function Start-Pull {
    # One more try for this image: the first one through the mirror, where there is one.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][hashtable]$Job,
        [Parameter(Mandatory = $true)][AllowNull()][hashtable]$Mirror
    )
    $Job.Attempt++
    $options = @()
    if (($Job.Attempt -eq 1) -and ($null -ne $Mirror)) {
        $options = @('--hosts-dir', $script:HostsFolder)
    }
    $arguments = @('--namespace', 'k8s.io', 'images', 'pull') + $options + $Job.Source
    $Job.Command = Start-NativeCommand -FilePath "$env:ProgramFiles\containerd\ctr.exe" -ArgumentList $arguments
}

function Set-ImageTag {
    # Give what was pulled by digest the name that pods use; a tag of that name that points elsewhere is replaced.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$Job)
    $command = Start-NativeCommand -FilePath $script:Ctr -ArgumentList @('--namespace', 'k8s.io', 'images', 'tag', '--force', $Job.Source, $Job.Reference)
    $null = Complete-NativeCommand -Command $command -TimeoutSecond 300
}

function Complete-Pull {
    # Take an ended pull's outcome: tagged and done, to be tried again, or the end of the stage.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][hashtable]$Job,
        [Parameter(Mandatory = $true)][int]$Attempts
    )
    $outcome = Complete-NativeCommand -Command $Job.Command -AnyExitCode
    $Job.Command = $null
    if ($outcome.ExitCode -eq 0) {
        Set-ImageTag -Job $Job
        $Job.Done = $true
        return
    }
    # Before anything is cut off: half an address can not be told from other text, and the half with the SAS may remain.
    $text = (Hide-UrlQuery -Text "$($outcome.ErrorOutput)`n$($outcome.Output)").Trim()
    $tail = $text.Substring([Math]::Max(0, $text.Length - 500))
    if ($text -match 'not enough space on the disk|no space left on device') {
        throw (New-StageFailure -Code 'disk-full' -Message "$($Job.Reference): $tail")
    }
    # What ctr says of a digest that the registry answers with 404: the name that was asked for, and "not found".
    # https://github.com/containerd/containerd/blob/main/core/remotes/docker/resolver.go (Resolve)
    if ($text -match ([regex]::Escape($Job.Source) + ': not found')) {
        throw (New-StageFailure -Code 'manifest-unknown' -Message "$($Job.Reference): the registry does not have $($Job.Source)")
    }
    if ($Job.Attempt -ge $Attempts) {
        throw (New-StageFailure -Code 'pull-failed' -Message "$($Job.Reference): exit code $($outcome.ExitCode) after $($Job.Attempt) attempts: $tail")
    }
    Write-StageLog -Message "$($Job.Reference): attempt $($Job.Attempt) of ${Attempts}: $tail"
    # containerd keeps what it got of a blob, wrong bytes too, until it has collected its garbage: a moment after the pull ended.
    $Job.NotBefore = [datetime]::UtcNow.AddSeconds([Math]::Min(60, 5 * $Job.Attempt))
}

function Invoke-Pull {
    # Pull every image that is not done, up to Parallel at a time.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][hashtable[]]$Jobs,
        [Parameter(Mandatory = $true)][AllowNull()][hashtable]$Mirror,
        [Parameter(Mandatory = $true)][int]$Parallel,
        [Parameter(Mandatory = $true)][int]$Attempts
    )
    try {
        while ($true) {
            $open = @($Jobs | Where-Object -FilterScript { -not $_.Done })
            Write-StageProgress -Message 'container images' -Done ($Jobs.Count - $open.Count) -Total $Jobs.Count
            if ($open.Count -eq 0) {
                return
            }
            $running = @($open | Where-Object -FilterScript { $null -ne $_.Command })
            $now = [datetime]::UtcNow
            $startable = @($open | Where-Object -FilterScript { ($null -eq $_.Command) -and ($_.NotBefore -le $now) })
            foreach ($job in @($startable | Select-Object -First ([Math]::Max(0, $Parallel - $running.Count)))) {
                Start-Pull -Job $job -Mirror $Mirror
            }
            foreach ($job in $running) {
                if ($job.Command.Process.HasExited) {
                    Complete-Pull -Job $job -Attempts $Attempts
                }
            }
            Wait-Mirror -Mirror $Mirror
        }
    }
    finally {
        foreach ($job in @($Jobs | Where-Object -FilterScript { $null -ne $_.Command })) {
            Stop-NativeCommand -Command $job.Command
        }
    }
}

function Get-StoredDigest {
    # Digest by name of the images in the store.
    [CmdletBinding()]
    [OutputType([hashtable])]
    param()
    $digests = @{}
    foreach ($image in @(Get-StoredImage -CtrPath $script:Ctr)) {
        $digests[$image.Name] = $image.Digest
    }
    return $digests
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    $wanted = @($stageInput.images)
    Start-Runtime
    $stored = Get-StoredDigest
    $jobs = @(
        foreach ($image in $wanted) {
            $reference = [string]$image.reference
            @{
                Image     = $image
                Reference = $reference
                Digest    = [string]$image.digest
                Source    = $reference.Substring(0, $reference.LastIndexOf(':')) + '@' + $image.digest
                Done      = $stored.ContainsKey($reference) -and ($stored[$reference] -eq $image.digest)
                Attempt   = 0
                Command   = $null
                NotBefore = [datetime]::MinValue
            }
        }
    )
    $missing = @($jobs | Where-Object -FilterScript { -not $_.Done } | ForEach-Object -Process { $_.Image })
    $mirror = Start-Mirror -Address (Get-CachedBlob -Image $missing)
    try {
        Invoke-Pull -Jobs $jobs -Mirror $mirror -Parallel $stageInput.parallel -Attempts $stageInput.attempts
    }
    finally {
        Stop-Mirror -Mirror $mirror
    }
    $stored = Get-StoredDigest
    foreach ($job in $jobs) {
        if (-not $stored.ContainsKey($job.Reference)) {
            throw (New-StageFailure -Code 'pull-failed' -Message "$($job.Reference) is not in the store")
        }
        if ($stored[$job.Reference] -ne $job.Digest) {
            throw (New-StageFailure -Code 'digest-mismatch' -Message "$($job.Reference): expected $($job.Digest), got $($stored[$job.Reference])")
        }
    }
    $pulled = @($jobs | ForEach-Object -Process { [ordered]@{ reference = $_.Reference; digest = $_.Digest; attempts = $_.Attempt } })
    $changed = @($jobs | Where-Object -FilterScript { $_.Attempt -gt 0 }).Count -gt 0
    Write-StageResult -Result ([ordered]@{ changed = $changed; reboot_required = $false; images = $pulled })
}
