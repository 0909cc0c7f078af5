"""The command `flux-pmix`: what a person types. Modules here parse, call and print, and import late."""
