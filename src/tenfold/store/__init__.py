"""Run folders and weights files. The only room that knows safetensors."""
