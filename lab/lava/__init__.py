"""Jobs for LAVA, run by LAVA's own code: templates, device dictionaries, images, results, and a linter."""
