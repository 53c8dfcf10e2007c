#Requires -Version 5.1
<#
.SYNOPSIS
    Pull container images into containerd, several at a time, and compare their digests.

.DESCRIPTION
    Kubernetes looks for images in containerd's namespace k8s.io. ctr pulls what fits this Windows unless --all-platforms is given. A pull is
    tried again, but not on a full disk; one that fails, or a tag that does not have the digest it must have, fails the stage.
    https://github.com/containerd/containerd/blob/main/docs/man/ctr.8.md

.NOTES
    Input: images (reference, digest), parallel, attempts. Images whose digest is right already are left alone. Runs as SYSTEM: a WinRM
    shell's job would end the pulls with the connection.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:Ctr = Join-Path -Path $env:ProgramFiles -ChildPath 'containerd\ctr.exe'

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

function Start-Pull {
    # One more try for this image.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][hashtable]$Job)
    $Job.Attempt++
    $Job.Command = Start-NativeCommand -FilePath "$env:ProgramFiles\containerd\ctr.exe" -ArgumentList @('-n', 'k8s.io', 'images', 'pull', $Job.Reference)
}

function Complete-Pull {
    # Take an ended pull's outcome: done, to be tried again, or the end of the stage.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][hashtable]$Job,
        [Parameter(Mandatory = $true)][int]$Attempts
    )
    $outcome = Complete-NativeCommand -Command $Job.Command -AnyExitCode
    $Job.Command = $null
    if ($outcome.ExitCode -eq 0) {
        $Job.Done = $true
        return
    }
    $text = ($outcome.ErrorOutput + "`n" + $outcome.Output).Trim()
    $tail = $text.Substring([Math]::Max(0, $text.Length - 500))
    if ($text -match 'not enough space on the disk|no space left on device') {
        throw (New-StageFailure -Code 'disk-full' -Message "$($Job.Reference): $tail")
    }
    if ($Job.Attempt -ge $Attempts) {
        throw (New-StageFailure -Code 'pull-failed' -Message "$($Job.Reference): exit code $($outcome.ExitCode) after $($Job.Attempt) attempts: $tail")
    }
    Write-StageLog -Message "$($Job.Reference): attempt $($Job.Attempt) of ${Attempts}: $tail"
    $Job.NotBefore = [datetime]::UtcNow.AddSeconds([Math]::Min(60, 5 * $Job.Attempt))
}

function Invoke-Pull {
    # Pull every image that is not done, up to Parallel at a time.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][AllowEmptyCollection()][hashtable[]]$Jobs,
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
                Start-Pull -Job $job
            }
            foreach ($job in $running) {
                if ($job.Command.Process.HasExited) {
                    Complete-Pull -Job $job -Attempts $Attempts
                }
            }
            Start-Sleep -Milliseconds 200
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
            $isThere = $stored.ContainsKey($image.reference) -and ($stored[$image.reference] -eq $image.digest)
            @{ Reference = [string]$image.reference; Digest = [string]$image.digest; Done = $isThere; Attempt = 0; Command = $null; NotBefore = [datetime]::MinValue }
        }
    )
    Invoke-Pull -Jobs $jobs -Parallel $stageInput.parallel -Attempts $stageInput.attempts
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
