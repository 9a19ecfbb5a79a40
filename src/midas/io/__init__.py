"""Files: detector images in, parameter texts in and out, everything written whole or not at all."""
