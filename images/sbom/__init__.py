"""sbom.cdx.json: the software bill of materials of an image, in CycloneDX 1.6."""
