"""Read and write weight files, and find trained weights by name. The ``.h5`` files here come with cifarnet."""
