"""Image files: listed, checked, decoded, resized and cached."""
