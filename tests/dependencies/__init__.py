"""The packages of GitTix: their list (SBOM), and the search for known vulnerabilities in them."""
