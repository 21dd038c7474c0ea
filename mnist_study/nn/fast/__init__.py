"""What only speed needs: how BLAS is fed, and what a product can leave out."""
